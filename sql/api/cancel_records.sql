-- record_ledger.cancel_records: asks the runs that hold the records of a range to stop; their claims are cancelled.
-- It changes records whose whole window lies in [from_time, to_time), leaves others alone, and returns how many it
-- changed. A run learns of the cancellation from claim_state. It keeps its claim until it has stopped, so no second run
-- begins beside it. The record is then FAILED, unless the run completes it. No run is passed the record before an
-- operator reopens it.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: change_range, check_range, check_reason, clock, lock_pipeline.
-- Tests: test_cancelling.py.
create or replace function record_ledger.cancel_records(
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
    -- A pass could otherwise hand one of the records to its run again, with a claim that is not cancelled.
    p := record_ledger.lock_pipeline(pipeline_id);
    return record_ledger.change_range(
        'cancel', p, from_time, to_time, reason, record_ledger.clock()
    );
end
$$;
comment on function record_ledger.cancel_records(text, timestamptz, timestamptz, text) is
'Asks the runs that hold records whose whole window lies in a range to stop, with a reason; returns how many. Unless completed they end as FAILED.';
