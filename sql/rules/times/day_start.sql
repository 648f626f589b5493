-- record_ledger.day_start: the first instant of a local date, the ledger's local midnight.
-- Also where 00:00 does not exist (Cairo, Beirut, Santiago, Havana), happens twice (Azores) or a whole date is skipped.
-- Read by: local_day, next_window, windows_from, backfill_windows, first_window_start.
-- Rules: local_instant.
create or replace function record_ledger.day_start(local_date date, timezone text)
returns timestamptz
language sql
immutable
as $$
    select record_ledger.local_instant(local_date::timestamp, day_start.timezone)
$$;
comment on function record_ledger.day_start(date, text) is
'The first instant of a local date in a time zone; consecutive ones tile time exactly.';
