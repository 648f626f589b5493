-- record_ledger.iso_time: an instant in ISO 8601 with the offset of the time zone in force.
-- For functions that have set a pipeline's time zone, and errors about a time of the caller; else there is local_time.
-- Read by: record_verdict, no_records_reason, due_reason, check_range, check_backfill.
-- Rules: none. Names are qualified (README.md, Names).
create or replace function record_ledger.iso_time(instant timestamptz)
returns text
language sql
stable
as $$
    select pg_catalog.btrim(pg_catalog.to_json(instant)::text, '"')
$$;
comment on function record_ledger.iso_time(timestamptz) is
'An instant in ISO 8601 with the offset of the session''s time zone.';
