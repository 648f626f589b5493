-- record_ledger.day_start: the first instant of a local date, the ledger's local midnight.
-- It is also right where 00:00 does not exist (Cairo, Beirut, Santiago, Havana), happens twice (Azores), or where a
-- whole date is skipped.
-- Called by: dbt, backfill_range, backfill_start, backfill_windows, day_coverage, first_window_start, local_day,
--   next_window, range_step, window_time, windows_from.
-- Uses: local_instant.
-- Tests: test_days.py.
create or replace function record_ledger.day_start(local_date date, timezone text)
returns timestamptz
language sql
immutable
as $$
    select record_ledger.local_instant(local_date::timestamp, day_start.timezone)
$$;
comment on function record_ledger.day_start(date, text) is
'The first instant of a local date in a time zone; consecutive ones tile time exactly.';
