-- record_ledger.is_at_risk: will the source data of a window be gone soon?
-- True at at_risk_within before window_end_time + source_retention, and later; never without a source_retention.
-- Called by: next_turn, pipeline_progress, records_at_risk.
-- Uses: none.
-- Tests: test_retention.py, test_deadline_order.py.
create or replace function record_ledger.is_at_risk(
    window_end_time timestamptz, p record_ledger.pipeline, as_of timestamptz
)
returns boolean
language sql
-- Not immutable, though elapsed time is: adding to an instant counts as stable, and only then is the call inlined.
stable
as $$
    select window_end_time + ((p).source_retention - (p).at_risk_within) <= as_of is true
$$;
comment on function record_ledger.is_at_risk(
    timestamptz, record_ledger.pipeline, timestamptz
) is
'Whether a window''s source data is gone or will be within at_risk_within.';
