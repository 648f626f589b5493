-- record_ledger.local_day: the local day an instant belongs to.
-- The last day that has started. Not always the date on the wall: clocks set back across midnight show yesterday again.
-- Read by: next_window, due_windows, store_windows.
-- Rules: day_start.
create or replace function record_ledger.local_day(instant timestamptz, timezone text)
returns date
language sql
immutable strict
as $$
    select d.wall_date + (record_ledger.day_start(d.wall_date + 1, local_day.timezone) <= instant)::integer
    from (select (instant at time zone local_day.timezone)::date as wall_date) as d
$$;
comment on function record_ledger.local_day(timestamptz, text) is
'The local day an instant belongs to: the last one whose day_start is not after it.';
