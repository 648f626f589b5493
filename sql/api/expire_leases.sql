-- record_ledger.expire_leases: takes back the records of a range from runs that are known to be dead.
-- It changes records whose whole window lies in [from_time, to_time), leaves others alone, and returns how many it
-- changed. A record is PENDING again after a backoff, or FAILED when no attempt is left or its claim was cancelled.
-- This is what happens when a lease runs out, without the wait.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: change_range, check_range, check_reason, clock, lock_pipeline.
-- Tests: test_ranges.py, test_two_operators.py.
create or replace function record_ledger.expire_leases(
    pipeline_id text, from_time timestamptz, to_time timestamptz, reason text
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    p record_ledger.pipeline;
begin
    perform record_ledger.check_reason(reason);
    perform record_ledger.check_range(from_time, to_time);
    -- A pass could otherwise hand one of the claims out anew, and lose that one instead.
    p := record_ledger.lock_pipeline(pipeline_id);
    return record_ledger.change_range(
        'expire', p, from_time, to_time, reason, record_ledger.clock()
    );
end
$$;
comment on function record_ledger.expire_leases(text, timestamptz, timestamptz, text) is
'Ends the claims, known to be dead, on the records whose whole window lies in a range, with a reason; returns how many.';
