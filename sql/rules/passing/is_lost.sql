-- record_ledger.is_lost: is the source data of a window gone?
-- From the very instant on at which window_end_time + source_retention is reached; never without a source_retention.
-- Read by: lost_before, record_verdict, record_verdicts, records_at_risk, planned_passes, status_after's callers.
-- Rules: none.
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
