-- record_ledger.collect_expired_leases: takes back records of a locked pipeline whose lease has run out, at most ten.
-- A record is pending again with a backoff from the expiry onwards, or failed when no attempt is left or its claim was
-- cancelled, as check_record_change says. Each pass does this; there is no daemon.
-- Called by: pass_record.
-- Uses: expired_claims, local_time, retry_time.
-- Tests: test_passing.py, test_starting_again.py.
create or replace function record_ledger.collect_expired_leases(
    p record_ledger.pipeline, lease_mark timestamptz, as_of timestamptz
)
returns void
language plpgsql
as $$
declare
    v_start timestamptz;
begin
    -- One by one: with a join or a list, a session that has planned it on an empty ledger could read all records.
    for v_start in
        select e.window_start_time
        from record_ledger.expired_claims(
            p.pipeline_id, collect_expired_leases.lease_mark, as_of
        ) as e
    loop
        update record_ledger.record as r
        set retry_at = case
                when r.attempt < p.max_attempts
                    then record_ledger.retry_time(
                        r.lease_expires_at, r.attempt, r.window_end_time, p
                    )
            end,
            claim_token = case when r.attempt < p.max_attempts then null else r.claim_token end,
            run_id = case when r.attempt < p.max_attempts then null else r.run_id end,
            lease_expires_at = null,
            cancellation = null,
            last_event = 'lease_expired',
            last_detail = jsonb_build_object(
                'lease_expires_at', record_ledger.local_time(r.lease_expires_at, p.timezone)
            ),
            updated_at = as_of
        where r.pipeline_id = p.pipeline_id and r.window_start_time = v_start
            -- Its run may have ended the claim or extended the lease meanwhile.
            and r.lane = 'active' and r.lease_expires_at <= as_of;
    end loop;
end
$$;
comment on function record_ledger.collect_expired_leases(
    record_ledger.pipeline, timestamptz, timestamptz
) is
'Private. Takes back records of a locked pipeline whose lease has run out, at most ten.';
