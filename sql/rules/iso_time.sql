-- record_ledger.iso_time: an instant in ISO 8601 with the offset of the time zone in force.
-- For functions that have set the time zone of a pipeline; local_time is for all others.
-- Read by: record_verdict.
-- Rules: none.
create or replace function record_ledger.iso_time(instant timestamptz)
returns text
language sql
stable
as $$
    select to_json(instant) #>> '{}'
$$;
comment on function record_ledger.iso_time(timestamptz) is
'An instant in ISO 8601 with the offset of the session''s time zone.';
