-- record_ledger.extend_lease: the heartbeat of a run; its lease now ends one lease length from now.
-- Returns the new end. Raises RL004 unless the claim token is current, and belongs to the window when the caller names
-- one. A cancelled claim is extended too: no second run begins beside one that still writes. Appends no event.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: check_owner_of, clock, is_safe_to_write, lock_pipeline, raise_claim_lost, refuse_call.
-- Tests: test_claims.py.
create or replace function record_ledger.extend_lease(
    pipeline_id text, claim_token bigint, window_start_time timestamptz default null
)
returns timestamptz
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    v_expires_at timestamptz;
    v_now timestamptz := record_ledger.clock();
    v_is_shorter boolean;
begin
    if not record_ledger.is_safe_to_write() then
        perform record_ledger.refuse_call();
    end if;
    perform record_ledger.check_owner_of(extend_lease.pipeline_id);
    select v_now + p.lease < r.lease_expires_at into v_is_shorter
    from record_ledger.claim as c
    join record_ledger.record as r
        on r.pipeline_id = c.pipeline_id and r.window_start_time = c.window_start_time
        and r.claim_token = c.claim_token
    join record_ledger.pipeline as p on p.pipeline_id = c.pipeline_id
    where c.pipeline_id = extend_lease.pipeline_id and c.claim_token = extend_lease.claim_token;
    if v_is_shorter then
        -- The config gives less time now, and check_record_change voids the marks of the pipeline: lock its row first,
        -- as every routine does.
        perform record_ledger.lock_pipeline(extend_lease.pipeline_id);
        v_now := record_ledger.clock();
    end if;
    -- A pass may be collecting this very lease: the second of both sees what the first one left.
    update record_ledger.record as r
    set lease_expires_at = greatest(
        v_now + (
            select p.lease from record_ledger.pipeline as p where p.pipeline_id = r.pipeline_id
        ),
        case when v_is_shorter is not true then r.lease_expires_at end
    )
    where r.pipeline_id = extend_lease.pipeline_id
        and r.window_start_time = coalesce(
            extend_lease.window_start_time,
            (
                select c.window_start_time
                from record_ledger.claim as c
                where c.pipeline_id = extend_lease.pipeline_id
                    and c.claim_token = extend_lease.claim_token
            )
        )
        and r.claim_token = extend_lease.claim_token and r.status = 'IN_PROGRESS'
    returning r.lease_expires_at into v_expires_at;
    if not found then
        perform record_ledger.raise_claim_lost(
            extend_lease.pipeline_id, extend_lease.claim_token, extend_lease.window_start_time
        );
    end if;
    return v_expires_at;
end
$$;
comment on function record_ledger.extend_lease(text, bigint, timestamptz) is
'Heartbeat: the lease of a passed record now ends one lease length from now. RL004 unless the claim token is current.';
