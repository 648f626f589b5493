-- record_ledger.build_record: gives an outdated record the fields of the config in force; returns what it then lacks.
-- The record stays in its lane, so a record that waits in order keeps its place. An event is appended only when a field
-- differs, with the old state of these fields: fields_before has their values, fields_added the names of new ones.
-- check_record_change guards the change.
-- Called by: build_records, pass_record.
-- Uses: missing_fields, note_filled.
-- Tests: test_rebuilding.py, test_outdated.py.
create or replace function record_ledger.build_record(
    p record_ledger.pipeline,
    window_start_time timestamptz,
    fields jsonb,
    as_of timestamptz,
    out missing_fields text[],
    -- False when only the config_version changed.
    out is_event boolean,
    out config_version_before integer
)
language plpgsql
as $$
#variable_conflict use_column
declare
    v_before jsonb;
begin
    missing_fields := record_ledger.missing_fields(build_record.fields, p.check_fields);
    select r.fields, r.config_version into v_before, config_version_before
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id
        and r.window_start_time = build_record.window_start_time;
    is_event := v_before <> build_record.fields;
    if not is_event then
        update record_ledger.record as r
        set config_version = p.config_version,
            missing_fields = build_record.missing_fields
        where r.pipeline_id = p.pipeline_id
            and r.window_start_time = build_record.window_start_time;
    else
        update record_ledger.record as r
        set fields = build_record.fields,
            config_version = p.config_version,
            missing_fields = build_record.missing_fields,
            last_event = 'rebuilt',
            last_detail = jsonb_build_object(
                'config_version', p.config_version,
                'config_version_before', config_version_before,
                'fields_before', (
                    select coalesce(jsonb_object_agg(o.key, o.value), '{}')
                    from jsonb_each(v_before) as o
                    where (build_record.fields -> o.key) is distinct from o.value
                ),
                'fields_added', (
                    select coalesce(jsonb_agg(n.key order by n.key), '[]')
                    from jsonb_object_keys(build_record.fields) as n (key)
                    where (v_before -> n.key) is null
                )
            ),
            updated_at = as_of
        where r.pipeline_id = p.pipeline_id
            and r.window_start_time = build_record.window_start_time;
    end if;
    if p.missing_fields is not null and missing_fields is null then
        perform record_ledger.note_filled(p, build_record.window_start_time);
    end if;
end
$$;
comment on function record_ledger.build_record(
    record_ledger.pipeline, timestamptz, jsonb, timestamptz
) is
'Private. Gives an outdated record the fields of the config in force; returns which check_fields it then lacks.';
