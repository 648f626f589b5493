-- record_ledger.end_claim: ends a claim with its current token, in one of three ways.
-- Repeating the call that ended it changes nothing; with a token that is not current, or not of the window that is
-- named, it raises RL004. check_record_change guards the change, and fails what was cancelled.
-- Called by: complete_and_pass, complete_record, fail_record, release_record.
-- Uses: check_owner_of, clock, confirm_repeated, is_safe_to_write, postponement, raise_claim_lost, refuse_call,
--   retry_time.
-- Tests: test_claims.py, test_two_endings.py.
create or replace function record_ledger.end_claim(
    pipeline_id text,
    claim_token bigint,
    window_start_time timestamptz,
    event text,
    detail jsonb,
    retry boolean default true,
    not_before timestamptz default null
)
returns void
language plpgsql
as $$
#variable_conflict use_column
declare
    v_now timestamptz := record_ledger.clock();
    -- The record is pending again while its attempts are below this limit.
    v_limit integer := case end_claim.event when 'released' then 2147483647 else 0 end;
    v_postponement jsonb;
    v_retry_at timestamptz;
    p record_ledger.pipeline;
    r record_ledger.record;
begin
    if not record_ledger.is_safe_to_write() then
        perform record_ledger.refuse_call();
    end if;
    -- check_record_change asks when a record is completed, and only for pipelines that have an owner.
    if end_claim.event <> 'completed' then
        perform record_ledger.check_owner_of(end_claim.pipeline_id);
    end if;
    if end_claim.event = 'failed' and end_claim.retry or end_claim.not_before > v_now then
        select q.* into p
        from record_ledger.pipeline as q
        where q.pipeline_id = end_claim.pipeline_id;
        if end_claim.event = 'failed' then
            v_limit := p.max_attempts;
        else
            -- Looked up without a lock: when the token is not current any more, nothing comes of it.
            select q.* into r
            from record_ledger.claim as c
            join record_ledger.record as q
                on q.pipeline_id = c.pipeline_id and q.window_start_time = c.window_start_time
            where c.pipeline_id = end_claim.pipeline_id and c.claim_token = end_claim.claim_token;
            v_postponement := record_ledger.postponement(
                r.run_id, r.window_end_time, p, end_claim.not_before, v_now
            );
            v_retry_at := (v_postponement ->> 'not_before')::timestamptz;
            detail := coalesce(v_postponement - array['released_by', 'run_id'], '{}');
        end if;
    end if;
    -- One guarded statement. A pass may be collecting the lease of this very claim: whoever comes second waits for the
    -- first one's commit, and then sees the record as that one left it.
    update record_ledger.record as r
    set attempt = r.attempt - (end_claim.event = 'released')::integer,
        claim_token = case when r.attempt >= v_limit then r.claim_token end,
        run_id = case when r.attempt >= v_limit then r.run_id end,
        lease_expires_at = null,
        retry_at = case
            when end_claim.event = 'failed' and r.attempt < v_limit
                then record_ledger.retry_time(v_now, r.attempt, r.window_end_time, p)
            else v_retry_at
        end,
        cancellation = null,
        postponement = v_postponement,
        last_event = end_claim.event,
        last_detail = end_claim.detail,
        updated_at = v_now
    where r.pipeline_id = end_claim.pipeline_id
        -- The record knows its token: with the right window, the claim does not have to be looked up.
        and r.window_start_time = coalesce(
            end_claim.window_start_time,
            (
                select c.window_start_time
                from record_ledger.claim as c
                where c.pipeline_id = end_claim.pipeline_id
                    and c.claim_token = end_claim.claim_token
            )
        )
        and r.claim_token = end_claim.claim_token and r.status = 'IN_PROGRESS';
    if found then
        return;
    end if;
    if exists (
        select
        from record_ledger.claim as c
        join record_ledger.record_event as e
            on e.pipeline_id = c.pipeline_id and e.window_start_time = c.window_start_time
        where c.pipeline_id = end_claim.pipeline_id and c.claim_token = end_claim.claim_token
            and c.window_start_time
                = coalesce(end_claim.window_start_time, c.window_start_time)
            and e.claim_token = end_claim.claim_token and e.event = end_claim.event
    ) then
        perform record_ledger.confirm_repeated();
        return;
    end if;
    -- The same of a record that was archived since; a statement of its own, which most calls never plan.
    if exists (
        select
        from record_ledger.claim as c
        join record_ledger.archived_record_event as e
            on e.pipeline_id = c.pipeline_id and e.window_start_time = c.window_start_time
        where c.pipeline_id = end_claim.pipeline_id and c.claim_token = end_claim.claim_token
            and c.window_start_time
                = coalesce(end_claim.window_start_time, c.window_start_time)
            and e.claim_token = end_claim.claim_token and e.event = end_claim.event
    ) then
        perform record_ledger.confirm_repeated();
        return;
    end if;
    perform record_ledger.raise_claim_lost(
        end_claim.pipeline_id, end_claim.claim_token, end_claim.window_start_time
    );
end
$$;
comment on function record_ledger.end_claim(
    text, bigint, timestamptz, text, jsonb, boolean, timestamptz
) is
'Private. Ends a claim with its current token; RL004 when the token is not current.';
