-- record_ledger.build_records: fills records that wait to be built, from what the caller rendered or a plain config.
-- A record is built once per config version, even when something is still missing then: it is not asked for again.
-- Called by: store_new_records, store_new_and_pass_valid_record.
-- Rules: missing_fields, is_stable, is_lost.
create or replace function record_ledger.build_records(
    p record_ledger.pipeline, built jsonb, as_of timestamptz
)
returns void
language plpgsql
as $$
begin
    update record_ledger.record as r
    set fields = b.fields,
        config_version = p.config_version,
        missing_fields = record_ledger.missing_fields(b.fields, p.check_fields),
        awaits_build = false,
        last_event = 'rebuilt',
        last_detail = jsonb_build_object(
            'config_version', p.config_version,
            'fields_before', r.fields,
            'config_version_before', r.config_version
        ),
        updated_at = as_of
    from (
        select distinct on (1)
            (e.element ->> 'window_start_time')::timestamptz as window_start_time,
            e.element -> 'fields' as fields
        from jsonb_array_elements(built) as e (element)
        union all
        -- A config without templates needs no rendering.
        (
            select u.window_start_time, p.fields
            from record_ledger.record as u
            where not p.has_templates and u.open_pipeline_id = p.pipeline_id and u.lane = 'unbuilt'
                and record_ledger.is_stable(u.window_end_time, p.x_time_back, as_of)
                and not record_ledger.is_lost(u.window_end_time, p.source_retention, as_of)
            order by u.window_start_time
            limit 100
        )
    ) as b
    where r.open_pipeline_id = p.pipeline_id
        and r.lane = 'unbuilt'
        and r.window_start_time = b.window_start_time;
end
$$;
comment on function record_ledger.build_records(record_ledger.pipeline, jsonb, timestamptz) is
'Private. Fills the records that wait to be built.';
