-- record_ledger.build_records: builds outdated pending records from what a caller rendered with the config in force.
-- A current record stays as it is: each change of the fields builds it once, even when a field is missing then. A
-- record that is in progress, failed or finished is left alone.
-- Called by: pass_valid_records, store_new_records.
-- Uses: build_record, built_windows.
-- Tests: test_rebuilding.py.
create or replace function record_ledger.build_records(
    p record_ledger.pipeline, built jsonb, as_of timestamptz
)
returns void
language plpgsql
as $$
declare
    v_window record;
begin
    for v_window in
        select r.window_start_time, b.fields
        from record_ledger.built_windows(built, p) as b
        join record_ledger.record as r
            on r.pipeline_id = p.pipeline_id
            and r.window_start_time = b.window_start_time
            and r.window_end_time = b.window_end_time
        where r.status = 'PENDING' and coalesce(r.config_version < p.fields_version, true)
        order by r.window_start_time
    loop
        perform record_ledger.build_record(p, v_window.window_start_time, v_window.fields, as_of);
    end loop;
end
$$;
comment on function record_ledger.build_records(record_ledger.pipeline, jsonb, timestamptz) is
'Private. Builds outdated pending records from what a caller rendered with the config in force.';
