-- record_ledger.is_outdated: was a record built before default_record or check_fields last changed, or never?
-- A pass builds such a record first.
-- Called by: next_answer.
-- Uses: none.
-- Tests: test_outdated.py.
create or replace function record_ledger.is_outdated(
    p record_ledger.pipeline, window_start_time timestamptz
)
returns boolean
language sql
stable
as $$
    select coalesce(r.config_version < (p).fields_version, true)
    from record_ledger.record as r
    where r.pipeline_id = (p).pipeline_id
        and r.window_start_time = is_outdated.window_start_time
$$;
comment on function record_ledger.is_outdated(record_ledger.pipeline, timestamptz) is
'Private. Whether a record was built before default_record or check_fields last changed, or never.';
