-- record_ledger.read_config: a config as the row of the pipeline it describes, with every default filled in.
-- Writes nothing; raises RL001 with all problems in one error.
-- Called by: configured.
-- Uses: config_problems, duration, recount_ages, start_instant, start_problem.
-- Tests: test_config_properties.py.
create or replace function record_ledger.read_config(config jsonb)
returns record_ledger.pipeline
language plpgsql
stable
as $$
declare
    v_pipeline_id constant text := case jsonb_typeof(config)
        when 'object' then coalesce(
            config ->> 'pipeline_id', config #>> '{default_record,pipeline_id}'
        )
    end;
    v_problems text[];
    p record_ledger.pipeline;
begin
    v_problems := record_ledger.config_problems(
        config,
        exists (select from record_ledger.pipeline as q where q.pipeline_id = v_pipeline_id),
        exists (
            select
            from record_ledger.pipeline as q
            where q.pipeline_id = v_pipeline_id
                and q.timezone = read_config.config ->> 'timezone'
        ) or exists (
            select
            from record_ledger.pipeline_event as e
            where e.pipeline_id = v_pipeline_id
                and e.detail #>> '{config,timezone}' = read_config.config ->> 'timezone'
        )
    );
    if cardinality(v_problems) = 0 then
        v_problems := array_remove(
            array[record_ledger.start_problem(config, v_pipeline_id)], null
        );
    end if;
    if cardinality(v_problems) > 0 then
        raise exception '%', concat(
            'invalid config',
            ' of pipeline "' || left(v_pipeline_id, 80) || '"',
            ': ',
            case
                when cardinality(v_problems) > 1
                    then cardinality(v_problems) || E' problems\n  - '
            end,
            -- A config may be wrong in thousands of places: the message lists the first twenty.
            array_to_string(v_problems[1:20], E'\n  - '),
            E'\n  - and ' || nullif(greatest(cardinality(v_problems) - 20, 0), 0) || ' more'
        )
            using errcode = 'RL001';
    end if;
    p.pipeline_id := v_pipeline_id;
    p.config := config;
    p.config_version := 1;
    p.timezone := config ->> 'timezone';
    p.x_time_back := record_ledger.duration(config ->> 'x_time_back');
    p.granularity := record_ledger.duration(config ->> 'granularity');
    p.fields := (config -> 'default_record') - 'pipeline_id';
    p.has_templates := jsonb_path_exists(
        p.fields, 'strict $.** ? (@.type() == "string" && @ like_regex "[{][{%#]")'
    );
    p.check_fields := array(
        select jsonb_array_elements_text(coalesce(config -> 'check_fields', '[]'))
    );
    p.start_at := record_ledger.start_instant(config ->> 'start_at', p.timezone);
    -- JSON may write a whole number as 3.0.
    p.max_active_records := (config ->> 'max_active_records')::numeric::integer;
    p.depends_on_past := coalesce((config ->> 'depends_on_past')::boolean, false);
    p.lease := record_ledger.duration(coalesce(config ->> 'lease', '1h'));
    p.max_attempts := coalesce((config ->> 'max_attempts')::numeric::integer, 3);
    p.retry_delay := record_ledger.duration(coalesce(config ->> 'retry_delay', '5m'));
    p.backfill_share := coalesce((config ->> 'backfill_share')::numeric, 0);
    p.is_retired := false;
    if config ? 'required_counts' then
        -- A list of stages is short for an object that holds it.
        p.required_counts := jsonb_build_object(
            'stages',
            coalesce(config #> '{required_counts,stages}', config -> 'required_counts'),
            'tolerance',
            coalesce(config #>> '{required_counts,tolerance}', '0 rows')
        );
    end if;
    p.source_retention := record_ledger.duration(config ->> 'source_retention');
    p.at_risk_within := coalesce(
        record_ledger.duration(config ->> 'at_risk_within'), p.source_retention / 4
    );
    p.pass_order := coalesce(config ->> 'pass_order', 'oldest');
    p.recount_ages := record_ledger.recount_ages(config -> 'recount_ages');
    p.reopen_budget := coalesce((config ->> 'reopen_budget')::numeric::integer, 10);
    return p;
end
$$;
comment on function record_ledger.read_config(jsonb) is
'A config as the row of the pipeline it describes; raises RL001 with all problems in one error.';
