-- record_ledger.register_config: makes a config the one in force, and leaves its pipeline's row locked.
-- Writes nothing when it is in force already; validates only what is new.
-- Called by: register_pipeline, store_new_and_pass_valid_record.
-- Rules: read_config, record_missing_fields.
create or replace function record_ledger.register_config(config jsonb)
returns record_ledger.pipeline
language plpgsql
as $$
declare
    v_now timestamptz;
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
    if v_old.config = register_config.config then
        return v_old;
    end if;

    p := record_ledger.read_config(register_config.config);
    v_now := record_ledger.clock();
    p.created_at := v_now;
    p.updated_at := v_now;
    if v_old.pipeline_id is null then
        insert into record_ledger.pipeline values (p.*) on conflict do nothing;
        if not found then
            -- Another call registered the pipeline meanwhile: its row is there now, and is compared like any other.
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
        config_version = q.config_version + 1,
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
        updated_at = v_now
    where q.pipeline_id = p.pipeline_id
    returning q.* into p;
    perform record_ledger.append_pipeline_event(
        p.pipeline_id,
        'reconfigured',
        jsonb_build_object('config_version', p.config_version, 'config', p.config),
        v_now
    );

    -- Other check_fields judge the open records anew, and what is incomplete may be filled by the new config.
    update record_ledger.record as r
    set missing_fields = j.missing_fields,
        awaits_build = j.missing_fields is not null,
        out_of_order = r.out_of_order or j.missing_fields is distinct from r.missing_fields
    from (
        select
            o.window_start_time,
            record_ledger.record_missing_fields(o.fields, o.config_version, p) as missing_fields
        from record_ledger.record as o
        where o.open_pipeline_id = p.pipeline_id
    ) as j
    where r.pipeline_id = p.pipeline_id and r.window_start_time = j.window_start_time
        and (
            r.missing_fields is distinct from j.missing_fields
            or r.awaits_build <> (j.missing_fields is not null)
        );

    -- What is in progress may have been passed when no counts were asked for. Whoever is completing it right now comes
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
