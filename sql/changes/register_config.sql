-- record_ledger.register_config: makes a config the one in force, and leaves its pipeline's row locked.
-- It writes nothing when the config in force has the same meaning; it validates only a new one. It changes no record:
-- the pipeline's fields_version says which are outdated, and the pass of each builds it.
-- Called by: pass_valid_records, register_pipeline, register_store_and_pass.
-- Uses: append_pipeline_event, check_owner, clock, configured, is_same_config.
-- Tests: test_registering.py, test_same_config.py.
create or replace function record_ledger.register_config(config jsonb)
returns record_ledger.pipeline
language plpgsql
as $$
declare
    v_now timestamptz;
    v_returned_version integer;
    v_returns bigint;
    v_old record_ledger.pipeline;
    p record_ledger.pipeline;
begin
    select q.* into v_old
    from record_ledger.pipeline as q
    where q.pipeline_id = coalesce(
        register_config.config ->> 'pipeline_id',
        register_config.config #>> '{default_record,pipeline_id}'
    )
    for no key update;
    if v_old.owner_role is not null then
        perform record_ledger.check_owner(v_old.pipeline_id, v_old.owner_role);
    end if;
    if v_old.config = register_config.config
        or record_ledger.is_same_config(v_old, register_config.config)
    then
        return v_old;
    end if;

    p := record_ledger.configured(v_old, register_config.config);
    v_now := record_ledger.clock();
    p.updated_at := v_now;
    if v_old.pipeline_id is null then
        p.created_at := v_now;
        insert into record_ledger.pipeline values (p.*) on conflict do nothing;
        if not found then
            -- Another call registered the pipeline meanwhile: compare with its row, as with any other.
            return record_ledger.register_config(register_config.config);
        end if;
        perform record_ledger.append_pipeline_event(
            p.pipeline_id,
            'registered',
            jsonb_build_object('config_version', 1, 'config', p.config),
            v_now
        );
        return p;
    end if;

    update record_ledger.pipeline as q
    set config = p.config,
        config_version = p.config_version,
        fields_version = p.fields_version,
        missing_fields = p.missing_fields,
        filled_from = p.filled_from,
        timezone = p.timezone,
        zone_since = case when q.timezone = p.timezone then q.zone_since end,
        x_time_back = p.x_time_back,
        granularity = p.granularity,
        fields = p.fields,
        has_templates = p.has_templates,
        check_fields = p.check_fields,
        start_at = p.start_at,
        max_active_records = p.max_active_records,
        depends_on_past = p.depends_on_past,
        lease = p.lease,
        max_attempts = p.max_attempts,
        retry_delay = p.retry_delay,
        backfill_share = p.backfill_share,
        required_counts = p.required_counts,
        source_retention = p.source_retention,
        at_risk_within = p.at_risk_within,
        pass_order = p.pass_order,
        recount_ages = p.recount_ages,
        reopen_budget = p.reopen_budget,
        updated_at = p.updated_at
    where q.pipeline_id = p.pipeline_id
    returning q.* into p;

    -- The event names a config that returns and does not repeat it: two deployments in turn would write it in each
    -- call.
    select (e.detail ->> 'config_version')::integer into v_returned_version
    from record_ledger.pipeline_event as e
    where e.pipeline_id = p.pipeline_id
        and e.detail ->> 'config' is not null
        and hashtextextended(e.detail ->> 'config', 0) = hashtextextended(p.config::text, 0)
        and e.detail ->> 'config' = p.config::text
    order by e.event_no desc
    limit 1;
    perform record_ledger.append_pipeline_event(
        p.pipeline_id,
        'reconfigured',
        jsonb_build_object('config_version', p.config_version) || case
            when v_returned_version is not null
                then jsonb_build_object('same_config_as_version', v_returned_version)
            else jsonb_build_object('config', p.config)
        end,
        v_now
    );
    if v_returned_version is not null then
        select count(*) into v_returns
        from record_ledger.pipeline_event as e
        where e.pipeline_id = p.pipeline_id
            and e.detail ->> 'same_config_as_version' is not null
            and e.event_time > v_now - interval '1 hour';
        if v_returns > 1 then
            raise warning
                'pipeline %: configs take turns: version % is version % again, '
                'and % configs have returned within an hour',
                p.pipeline_id, p.config_version, v_returned_version, v_returns
                using hint = 'Two deployments register the same pipeline with different configs: '
                    'stop one of them, or give it a pipeline_id of its own.';
        end if;
    end if;

    -- Records in progress may have been passed when no counts were required. A run that is completing one now goes
    -- first.
    if p.required_counts is not null then
        update record_ledger.record as r
        set needs_counts = true
        where r.open_pipeline_id = p.pipeline_id and r.lane = 'active' and not r.needs_counts;
    end if;
    return p;
end
$$;
comment on function record_ledger.register_config(jsonb) is
'Private. Makes a config the one in force (RL001 when it is invalid) and leaves its pipeline locked.';
