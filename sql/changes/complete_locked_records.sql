-- record_ledger.complete_locked_records: completes records whose claims the caller has locked and found current.
-- When the counts of one of them do not agree, it raises RL007 and completes none. check_record_change guards each
-- change, and checks the counts.
-- Called by: complete_records.
-- Uses: none.
-- Tests: test_complete_records.py.
create or replace function record_ledger.complete_locked_records(
    pipeline_id text,
    -- Sorted.
    window_start_times timestamptz[],
    -- All tokens of the call, sorted, and in the same places their details.
    claim_tokens bigint[],
    details jsonb[],
    as_of timestamptz
)
returns void
language plpgsql
as $$
begin
    -- One table and no join: the primary key finds the rows in every plan.
    update record_ledger.record as r
    set lease_expires_at = null,
        cancellation = null,
        last_event = 'completed',
        last_detail = details[width_bucket(r.claim_token, claim_tokens)],
        updated_at = as_of
    where r.pipeline_id = complete_locked_records.pipeline_id
        and r.window_start_time = any(window_start_times)
        -- A plan that does not use the list as an index condition reads no further than this.
        and r.window_start_time >= window_start_times[1]
        and r.window_start_time <= window_start_times[cardinality(window_start_times)];
end
$$;
comment on function record_ledger.complete_locked_records(
    text, timestamptz[], bigint[], jsonb[], timestamptz
) is
'Private. Completes records whose claims the caller holds locked and has found current; RL007 where counts do not agree.';
