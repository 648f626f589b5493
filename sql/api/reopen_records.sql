-- record_ledger.reopen_records: makes the finished and failed records of a range pending once more.
-- It changes records whose whole window lies in [from_time, to_time), leaves others alone, and returns how many it
-- changed. A new generation begins with no attempt made. record_events keeps what earlier generations did, and runs
-- stay bound.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: change_range, check_range, check_reason, clock, lock_pipeline.
-- Tests: test_ranges.py, test_starting_again.py.
create or replace function record_ledger.reopen_records(
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
    -- Otherwise a pass could miss what is reopened, and another operator could reopen a record twice.
    p := record_ledger.lock_pipeline(pipeline_id);
    return record_ledger.change_range(
        'reopen', p, from_time, to_time, reason, record_ledger.clock()
    );
end
$$;
comment on function record_ledger.reopen_records(text, timestamptz, timestamptz, text) is
'Makes the completed, failed and waived records whose whole window lies in a range PENDING once more, with a reason; returns how many.';
