-- record_ledger.waive_records: marks the pending and failed records of a range WAIVED: no run is needed for them.
-- It changes records whose whole window lies in [from_time, to_time), leaves others alone, and returns how many it
-- changed.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: change_range, check_range, check_reason, clock, lock_pipeline.
-- Tests: test_ranges.py.
create or replace function record_ledger.waive_records(
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
    -- A pass could otherwise hand out the very record that is being waived.
    p := record_ledger.lock_pipeline(pipeline_id);
    return record_ledger.change_range(
        'waive', p, from_time, to_time, reason, record_ledger.clock()
    );
end
$$;
comment on function record_ledger.waive_records(text, timestamptz, timestamptz, text) is
'Marks the pending and failed records whose whole window lies in a range as WAIVED, with a reason; returns how many.';
