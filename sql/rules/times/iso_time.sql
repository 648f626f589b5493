-- record_ledger.iso_time: an instant in ISO 8601 with the offset of the time zone in force.
-- It serves functions that have set a pipeline's time zone, and errors about a time of the caller; all others use
-- local_time. Names are qualified (docs/design.md, Names).
-- Called by: dbt, check_backfill, check_range, due_reason, no_records_reason, record_verdict, refuse_token,
--   release_record.
-- Uses: none.
-- Tests: test_record_shape.py.
create or replace function record_ledger.iso_time(instant timestamptz)
returns text
language sql
stable
as $$
    select pg_catalog.btrim(pg_catalog.to_json(instant)::text, '"')
$$;
comment on function record_ledger.iso_time(timestamptz) is
'An instant in ISO 8601 with the offset of the session''s time zone.';
