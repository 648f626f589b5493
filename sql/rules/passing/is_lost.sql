-- record_ledger.is_lost: is the source data of a window gone?
-- True at window_end_time + source_retention, and later; never without a source_retention.
-- Called by: cancel_range, expected_claims, expire_range, lost_before, planned_passes, range_effects, range_step,
--   record_verdict, record_verdicts, recount_due, reopen_range, waive_range, windows_to_build.
-- Uses: none.
-- Tests: test_retention.py.
create or replace function record_ledger.is_lost(
    window_end_time timestamptz, source_retention interval, as_of timestamptz
)
returns boolean
language sql
-- Not immutable, though elapsed time is: adding to an instant counts as stable, and only then is the call inlined.
stable
as $$
    select window_end_time + source_retention <= as_of is true
$$;
comment on function record_ledger.is_lost(timestamptz, interval, timestamptz) is
'Whether a window''s source data is gone: window_end_time + source_retention is not after as_of.';
