-- record_ledger.lock_record: locks a record for this transaction and returns it as it then is.
-- With a claim token, only when that is the current one of this very record (RL004, RL005 else).
-- Called by: observe_record, adopt_observations, waive_counts.
-- Rules: none.
create or replace function record_ledger.lock_record(
    pipeline_id text, window_start_time timestamptz, claim_token bigint default null
)
returns record_ledger.record
language plpgsql
as $$
#variable_conflict use_column
declare
    r record_ledger.record;
    v_claimed record;
begin
    if not record_ledger.is_read_committed() then
        perform record_ledger.refuse_call();
    end if;
    -- The record may be completed, collected, reopened or archived right now: whoever comes second waits for the first
    -- one's commit. So no count is noted under a token that was lost meanwhile, and none is missed by a completion.
    select q.* into r
    from record_ledger.record as q
    where q.pipeline_id = lock_record.pipeline_id
        and q.window_start_time = lock_record.window_start_time
    for no key update;
    if not found then
        -- Archived, it is nobody's: whoever had a claim on it hears what ended that.
        if exists (
            select
            from record_ledger.claim as c
            where c.pipeline_id = lock_record.pipeline_id
                and c.claim_token = lock_record.claim_token
                and c.window_start_time = lock_record.window_start_time
        ) then
            perform record_ledger.raise_claim_lost(
                lock_record.pipeline_id, lock_record.claim_token
            );
        end if;
        perform record_ledger.raise_no_record(
            lock_record.pipeline_id, lock_record.window_start_time
        );
    end if;
    if lock_record.claim_token is null
        or r.claim_token = lock_record.claim_token and r.status = 'IN_PROGRESS'
    then
        return r;
    end if;
    select
        record_ledger.local_time(c.window_start_time, p.timezone) as claimed_window,
        record_ledger.local_time(r.window_start_time, p.timezone) as given_window
    into v_claimed
    from record_ledger.claim as c
    join record_ledger.pipeline as p on p.pipeline_id = c.pipeline_id
    where c.pipeline_id = r.pipeline_id and c.claim_token = lock_record.claim_token;
    if v_claimed.claimed_window <> v_claimed.given_window then
        raise exception 'claim_token: % is a claim on window % of pipeline %, not on window %',
            lock_record.claim_token,
            v_claimed.claimed_window,
            r.pipeline_id,
            v_claimed.given_window
            using errcode = 'RL005', hint = 'Give the window and the token of the same record.';
    end if;
    perform record_ledger.raise_claim_lost(r.pipeline_id, lock_record.claim_token);
end
$$;
comment on function record_ledger.lock_record(text, timestamptz, bigint) is
'Private. Locks a record and returns it; RL005 when there is none, RL004 when a token is given that is not current.';
