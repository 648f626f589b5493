-- record_ledger.end_claim: ends a claim with its current token, in one of three ways.
-- Repeating the call that ended it changes nothing; with a token that is not current it raises RL004.
-- Called by: complete_record, fail_record, release_record.
-- Rules: retry_time; check_record_change guards the change.
create or replace function record_ledger.end_claim(
    pipeline_id text, claim_token bigint, event text, detail jsonb, retry boolean default true
)
returns void
language plpgsql
as $$
#variable_conflict use_column
declare
    v_now timestamptz;
    v_status text := case event when 'completed' then 'COMPLETED' else 'PENDING' end;
    v_retry_at timestamptz;
    p record_ledger.pipeline;
    r record_ledger.record;
begin
    if not record_ledger.is_read_committed() then
        perform record_ledger.refuse_call();
    end if;
    select q.* into r
    from record_ledger.record as q
    where q.pipeline_id = end_claim.pipeline_id and q.window_start_time = (
        select c.window_start_time
        from record_ledger.claim as c
        where c.pipeline_id = end_claim.pipeline_id and c.claim_token = end_claim.claim_token
    )
    -- A pass may be collecting the lease of this very claim: one of the two comes first, and the other sees it.
    for no key update;
    if r.status is distinct from 'IN_PROGRESS' or r.claim_token <> end_claim.claim_token then
        if not exists (
            select
            from record_ledger.record_event as e
            where e.pipeline_id = r.pipeline_id and e.window_start_time = r.window_start_time
                and e.claim_token = end_claim.claim_token and e.event = end_claim.event
        ) then
            perform record_ledger.raise_claim_lost(end_claim.pipeline_id, end_claim.claim_token);
        end if;
        return;
    end if;

    v_now := record_ledger.clock();
    if event = 'failed' then
        select q.* into p
        from record_ledger.pipeline as q
        where q.pipeline_id = end_claim.pipeline_id;
        if retry and r.attempt < p.max_attempts then
            v_retry_at := record_ledger.retry_time(v_now, r.attempt, p.retry_delay);
        else
            v_status := 'FAILED';
        end if;
    end if;
    update record_ledger.record as u
    set status = v_status,
        attempt = u.attempt - (end_claim.event = 'released')::integer,
        claim_token = case when v_status <> 'PENDING' then u.claim_token end,
        run_id = case when v_status <> 'PENDING' then u.run_id end,
        lease_expires_at = null,
        retry_at = v_retry_at,
        last_event = end_claim.event,
        last_detail = end_claim.detail,
        updated_at = v_now
    where u.pipeline_id = r.pipeline_id and u.window_start_time = r.window_start_time;
end
$$;
comment on function record_ledger.end_claim(text, bigint, text, jsonb, boolean) is
'Private. Ends a claim with its current token; RL004 when the token is not current.';
