-- record_ledger.claim_loss: why a claim token is not, or no longer, the current one of a record.
-- No record was passed with it, its claim is on another window than the one named, or an event ended the claim. Raises
-- RL002 for an unknown pipeline, and RL005 when no token was given.
-- Called by: claim_state, complete_records, raise_claim_lost.
-- Uses: archived_record_events, local_time, raise_unknown_pipeline, record_events.
-- Tests: test_claims.py, test_two_ledgers.py.
create or replace function record_ledger.claim_loss(
    pipeline_id text, claim_token bigint, window_start_time timestamptz default null
)
returns text
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    v_claim record_ledger.claim;
    v_end record;
    v_timezone text;
begin
    select p.timezone into v_timezone
    from record_ledger.pipeline as p
    where p.pipeline_id = claim_loss.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(claim_loss.pipeline_id);
    end if;
    if claim_loss.claim_token is null then
        raise exception 'claim_token: null is not a valid token; '
            'give the one in the record that was passed'
            using errcode = 'RL005';
    end if;
    select c.* into v_claim
    from record_ledger.claim as c
    where c.pipeline_id = claim_loss.pipeline_id and c.claim_token = claim_loss.claim_token;
    if not found then
        return format(
            'pipeline %s never passed a record with claim token %s',
            claim_loss.pipeline_id, claim_loss.claim_token
        );
    end if;
    if v_claim.window_start_time <> claim_loss.window_start_time then
        return format(
            'claim token %s of pipeline %s belongs to window %s, not to window %s',
            v_claim.claim_token,
            v_claim.pipeline_id,
            record_ledger.local_time(v_claim.window_start_time, v_timezone),
            case
                when isfinite(claim_loss.window_start_time)
                    then record_ledger.local_time(claim_loss.window_start_time, v_timezone)
                else claim_loss.window_start_time::text
            end
        );
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
            and e.event not in ('passed', 'passed_again', 'counts_waived', 'cancelled')
            or e.claim_token > v_claim.claim_token and e.event = 'passed_again'
        )
    order by e.event_no
    limit 1;
    return format(
        'claim token %s of pipeline %s, window %s, ended at %s: %s',
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
    );
end
$$;
comment on function record_ledger.claim_loss(text, bigint, timestamptz) is
'Private. Why a claim token is not the current one of a record: one sentence.';
