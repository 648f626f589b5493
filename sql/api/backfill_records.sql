-- record_ledger.backfill_records: adds records before a pipeline's first one, back to the local day of from_time.
-- One call adds them all and returns how many; 0 when the first record starts at from_time or earlier. They are
-- historical. Those of a pipeline with templates are stored unbuilt, and the pass of each builds it.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: backfill_range, check_backfill, check_reason, clock, lock_pipeline.
-- Tests: test_backfill.py.
create or replace function record_ledger.backfill_records(
    pipeline_id text, from_time timestamptz, reason text default null
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- A pass or another backfill could otherwise store what this one is about to.
    p record_ledger.pipeline := record_ledger.lock_pipeline(backfill_records.pipeline_id);
    v_first_start timestamptz := record_ledger.check_backfill(p, backfill_records.from_time);
    v_count integer := 0;
begin
    perform record_ledger.check_reason(backfill_records.reason, true);
    if v_first_start > backfill_records.from_time then
        select b.added_count into v_count
        from record_ledger.backfill_range(
            p,
            backfill_records.from_time,
            backfill_records.reason,
            null,
            record_ledger.clock(),
            v_first_start
        ) as b;
    end if;
    return v_count;
end
$$;
comment on function record_ledger.backfill_records(text, timestamptz, text) is
'Adds records before a pipeline''s first one, back to the local day of an instant; returns how many.';
