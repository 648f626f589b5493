-- record_ledger.raise_claim_lost: the one error for a claim token that is not current, with what became of the claim.
-- Raises RL004; RL002 for an unknown pipeline, RL005 when no token was given.
-- Called by: end_claim, extend_lease, lock_record, adopt_observations.
-- Rules: none.
create or replace function record_ledger.raise_claim_lost(pipeline_id text, claim_token bigint)
returns void
language plpgsql
as $$
#variable_conflict use_column
declare
    v_claim record_ledger.claim;
    v_end record;
    v_timezone text;
begin
    select p.timezone into v_timezone
    from record_ledger.pipeline as p
    where p.pipeline_id = raise_claim_lost.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(raise_claim_lost.pipeline_id);
    end if;
    if raise_claim_lost.claim_token is null then
        raise exception 'claim_token: null is no token; give the one in the record that was passed'
            using errcode = 'RL005';
    end if;
    select c.* into v_claim
    from record_ledger.claim as c
    where c.pipeline_id = raise_claim_lost.pipeline_id
        and c.claim_token = raise_claim_lost.claim_token;
    if not found then
        raise exception 'claim lost: pipeline % never passed a record with claim token %',
            raise_claim_lost.pipeline_id, raise_claim_lost.claim_token using errcode = 'RL004';
    end if;
    select e.event, e.event_time, e.actor, e.detail into v_end
    from (
        select l.*
        from record_ledger.record_events as l
        union all
        select a.*
        from record_ledger.archived_record_events as a
    ) as e
    where e.pipeline_id = v_claim.pipeline_id and e.window_start_time = v_claim.window_start_time
        and (
            e.claim_token = v_claim.claim_token
            and e.event not in ('passed', 'passed_again', 'counts_waived')
            or e.claim_token > v_claim.claim_token and e.event = 'passed_again'
        )
    order by e.event_no
    limit 1;
    raise exception 'claim lost: claim token % of pipeline %, window %, ended at %: %',
        v_claim.claim_token,
        v_claim.pipeline_id,
        record_ledger.local_time(v_claim.window_start_time, v_timezone),
        record_ledger.local_time(v_end.event_time, v_timezone),
        case
            when v_end.event = 'completed' then 'the record was completed'
            when v_end.event = 'failed' then 'the record was marked as failed'
            when v_end.event = 'released' then 'the record was released'
            when v_end.event = 'lease_expired' and v_end.detail ? 'reason'
                then format('%s took it back: %s', v_end.actor, v_end.detail ->> 'reason')
            when v_end.event = 'lease_expired' then 'its lease expired'
            when v_end.event = 'passed_again'
                then 'the run was passed the record again, with a newer token'
            else 'the record was ' || v_end.event
        end
        using errcode = 'RL004',
        hint = 'Stop working on this record: whoever holds its current token decides about it.';
end
$$;
comment on function record_ledger.raise_claim_lost(text, bigint) is
'Private. Raises RL004 and says what became of the claim.';
