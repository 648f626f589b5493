-- record_ledger.is_stable: is the data of a window stable?
-- True at window_end_time + x_time_back, and later.
-- Called by: next_answer, next_turn, plan_runs, planned_passes, record_verdict, windows_to_build.
-- Uses: none.
-- Tests: test_passing.py, test_verdicts.py.
create or replace function record_ledger.is_stable(
    window_end_time timestamptz, x_time_back interval, as_of timestamptz
)
returns boolean
language sql
-- Not immutable, though elapsed time is: adding to an instant counts as stable, and only then is the call inlined.
stable
as $$
    select window_end_time + x_time_back <= as_of
$$;
comment on function record_ledger.is_stable(timestamptz, interval, timestamptz) is
'Whether a window''s data is stable: window_end_time + x_time_back is not after as_of.';
