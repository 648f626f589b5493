-- record_ledger.lane: where an open record waits; null for a finished one.
--   active     in progress
--   failed     failed
--   historical pending and complete, backfilled or reopened
--   incomplete pending and incomplete; building cannot help
--   returned   pending and complete again, after a pass or a rebuild
--   unbuilt    pending and incomplete; to be built (again) from the pipeline's config
--   waiting    pending, complete, never passed, stored in order: passed strictly oldest first
-- The rare ones are neighbours by name, so that one look finds out whether any of them holds a record.
-- Read by: check_record_change, store_windows, backfill_records.
-- Rules: every open record is in exactly one lane, so one index of lanes finds whatever a pass asks for.
create or replace function record_ledger.lane(
    status text,
    missing_fields text[],
    awaits_build boolean,
    event_count integer,
    out_of_order boolean,
    is_historical boolean
)
returns text
language sql
immutable
as $$
    select case
        when status = 'PENDING' and missing_fields is not null and awaits_build then 'unbuilt'
        when status = 'PENDING' and missing_fields is not null then 'incomplete'
        when status = 'PENDING' and is_historical then 'historical'
        when status = 'PENDING' and (event_count > 0 or out_of_order) then 'returned'
        when status = 'PENDING' then 'waiting'
        when status = 'IN_PROGRESS' then 'active'
        when status = 'FAILED' then 'failed'
    end
$$;
comment on function record_ledger.lane(text, text[], boolean, integer, boolean, boolean) is
'Private. The lane of an open record: active, failed, historical, incomplete, returned, unbuilt or waiting; null when finished.';
