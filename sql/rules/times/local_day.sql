-- record_ledger.local_day: the local day an instant belongs to.
-- It is the last day that has started. That is not always the date on the wall: clocks set back across midnight show
-- yesterday again.
-- Called by: dbt, backfill_range, backfill_start, backfill_windows, days_with_windows, first_window_start, range_step,
--   reopen_changed_records, windows_from.
-- Uses: day_start.
-- Tests: test_days.py.
create or replace function record_ledger.local_day(instant timestamptz, timezone text)
returns date
language plpgsql
immutable strict
as $$
declare
    v_day date := (instant at time zone local_day.timezone)::date;
begin
    while record_ledger.day_start(v_day + 1, local_day.timezone) <= instant loop
        v_day := v_day + 1;
    end loop;
    return v_day;
end
$$;
comment on function record_ledger.local_day(timestamptz, text) is
'The local day an instant belongs to: the last one whose day_start is not after it.';
