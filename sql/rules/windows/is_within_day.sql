-- record_ledger.is_within_day: does a window that starts at an instant end after its granularity, unhurried by clocks?
-- True where it ends by local midnight, the clocks do not change in it, and were not set back across midnight just
-- before. PostgreSQL takes this expression into the one around it.
-- Called by: next_window, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_windows.py, test_days.py.
create or replace function record_ledger.is_within_day(
    window_start_time timestamptz,
    -- The same instant on the clocks of the zone.
    wall timestamp,
    granularity interval,
    timezone text
)
returns boolean
language sql
stable
as $$
    select wall + granularity <= wall::date + 1
        and (window_start_time + granularity) at time zone timezone = wall + granularity
        and (window_start_time - interval '12:00:00') at time zone timezone
            = wall - interval '12:00:00'
$$;
comment on function record_ledger.is_within_day(timestamptz, timestamp, interval, text) is
'Private. Whether a window ends after its granularity: neither midnight nor a change of clocks ends it.';
