-- record_ledger.expire_leases: takes back the records of a range that runs hold which are known to be dead.
-- Those whose whole window lies in [from_time, to_time); others are left alone. Returns how many changed. Pending again
-- with a backoff from now on, or failed when no attempt is left or the claim was cancelled: as when the lease had run
-- out, without the wait.
-- Called by: operators, through the runner's command expire, the dbt macro of the same name, or psql.
-- Rules: status_after, is_in_range, retry_time; check_record_change guards the change.
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
    v_now timestamptz;
    v_changed integer;
begin
    perform record_ledger.check_reason(reason);
    perform record_ledger.check_range(from_time, to_time);
    -- A pass could otherwise hand one of the claims out anew, and lose that one instead.
    p := record_ledger.lock_pipeline(pipeline_id);
    v_now := record_ledger.clock();
    -- A run that is not dead may be ending its claim right now: whoever comes second waits for the first one's commit,
    -- and then sees the record as that one left it.
    update record_ledger.record as r
    set retry_at = case
            when r.attempt < p.max_attempts
                then record_ledger.retry_time(v_now, r.attempt, r.window_end_time, p)
        end,
        claim_token = case when r.attempt < p.max_attempts then null else r.claim_token end,
        run_id = case when r.attempt < p.max_attempts then null else r.run_id end,
        lease_expires_at = null,
        cancellation = null,
        last_event = 'lease_expired',
        last_detail = jsonb_build_object(
            'reason', reason,
            'lease_expires_at', record_ledger.local_time(r.lease_expires_at, p.timezone)
        ),
        updated_at = v_now
    where r.pipeline_id = p.pipeline_id
        and record_ledger.is_in_range(r.window_start_time, r.window_end_time, from_time, to_time)
        and record_ledger.status_after(
            'expire',
            r.status,
            r.attempt < p.max_attempts,
            r.cancellation is not null,
            record_ledger.is_lost(r.window_end_time, p.source_retention, v_now)
        ) is not null;
    get diagnostics v_changed = row_count;
    return v_changed;
end
$$;
comment on function record_ledger.expire_leases(text, timestamptz, timestamptz, text) is
'Ends the claims, known to be dead, on the records whose whole window lies in a range, with a reason; returns how many.';
