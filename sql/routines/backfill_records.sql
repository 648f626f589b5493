-- record_ledger.backfill_records: adds records before a pipeline's first one, back to the local day of from_time.
-- All of them in one call; returns how many, 0 when the first one starts at from_time or before it. They are
-- historical; those of a pipeline with templates are stored unbuilt, and the pass of each builds it.
-- Called by: operators, through the runner's command backfill, the dbt macro of the same name, or psql.
-- Rules: check_backfill, backfill_windows, lane, begin_stretch.
create or replace function record_ledger.backfill_records(
    pipeline_id text, from_time timestamptz, reason text default null
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- A pass or another backfill could otherwise store what this one is about to.
    p record_ledger.pipeline := record_ledger.lock_pipeline(backfill_records.pipeline_id);
    v_now timestamptz := record_ledger.clock();
    v_first_start timestamptz := record_ledger.check_backfill(p, backfill_records.from_time);
    v_fields jsonb := case when p.has_templates then '{}' else p.fields end;
    v_config_version integer := case when not p.has_templates then p.config_version end;
    v_missing text[] := case when not p.has_templates then p.missing_fields end;
    v_count integer;
    v_new_first_start timestamptz;
begin
    perform record_ledger.check_reason(backfill_records.reason, true);
    if v_first_start <= backfill_records.from_time then
        return 0;
    end if;
    with added as materialized (
        select
            w.target_day,
            w.window_start_time,
            w.window_end_time,
            lag(w.window_start_time) over (order by w.window_start_time)
                as previous_window_start_time
        from record_ledger.backfill_windows(p, backfill_records.from_time, v_first_start) as w
    ),

    relinked as (
        update record_ledger.record as r
        set previous_window_start_time = (select max(a.window_start_time) from added as a)
        where r.pipeline_id = p.pipeline_id and r.window_start_time = v_first_start
        returning r.window_start_time
    )

    insert into record_ledger.record (
        pipeline_id,
        window_start_time,
        window_end_time,
        previous_window_start_time,
        target_day,
        fields,
        config_version,
        missing_fields,
        is_historical,
        lane,
        open_pipeline_id,
        created_at,
        updated_at
    )
    select
        p.pipeline_id,
        a.window_start_time,
        a.window_end_time,
        a.previous_window_start_time,
        a.target_day,
        v_fields,
        v_config_version,
        v_missing,
        true,
        record_ledger.lane('PENDING', v_missing, v_config_version, false, true, null),
        p.pipeline_id,
        v_now,
        v_now
    from added as a
    -- Counted first: a pipeline has one first record at any moment, so the old one is linked before a new one is there.
    where (select count(*) from relinked) = 1
    order by a.window_start_time;
    get diagnostics v_count = row_count;
    select r.window_start_time into v_new_first_start
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id
    order by r.window_start_time
    limit 1;
    perform record_ledger.void_marks(p.pipeline_id);
    perform record_ledger.begin_stretch(p, v_new_first_start);
    perform record_ledger.append_pipeline_event(
        p.pipeline_id,
        'backfilled',
        jsonb_strip_nulls(
            jsonb_build_object(
                'from_time', record_ledger.local_time(v_new_first_start, p.timezone),
                'to_time', record_ledger.local_time(v_first_start, p.timezone),
                'record_count', v_count,
                'reason', reason
            )
        ),
        v_now
    );
    return v_count;
end
$$;
comment on function record_ledger.backfill_records(text, timestamptz, text) is
'Adds records before a pipeline''s first one, back to the local day of an instant; returns how many.';
