-- record_ledger.fail_record: gives a passed record back after a failure.
-- The record is PENDING again after a backoff while attempts are left. It is FAILED when none is left, when retry is
-- false, or when its claim was cancelled. A window that the caller names must be the claim's (RL004 otherwise).
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: end_claim, shortened.
-- Tests: test_claims.py, test_bounds.py.
create or replace function record_ledger.fail_record(
    pipeline_id text,
    claim_token bigint,
    error text,
    retry boolean default true,
    window_start_time timestamptz default null
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
    if fail_record.retry is null then
        raise exception 'retry: null is neither true nor false' using errcode = 'RL005';
    end if;
    perform record_ledger.end_claim(
        pipeline_id,
        claim_token,
        window_start_time,
        'failed',
        jsonb_build_object(
            'error', coalesce(record_ledger.shortened(error, 8192), ''), 'retry', retry
        ),
        retry
    );
end
$$;
comment on function record_ledger.fail_record(text, bigint, text, boolean, timestamptz) is
'Gives a passed record back after a failure: PENDING with a backoff while attempts are left and retry is true, else FAILED.';
