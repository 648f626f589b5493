-- record_ledger.complete_record: marks a passed record COMPLETED.
-- Needs the current claim token, and the claim's window when the caller names one (RL004 otherwise). A repeated call
-- with the token that completed the record changes nothing.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: check_detail, clock, end_claim, is_safe_to_write.
-- Tests: test_claims.py, test_required_counts.py.
create or replace function record_ledger.complete_record(
    pipeline_id text,
    claim_token bigint,
    detail jsonb default '{}',
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
#variable_conflict use_column
begin
    if complete_record.detail <> '{}' then
        perform record_ledger.check_detail(complete_record.detail);
    end if;
    if complete_record.window_start_time is not null and record_ledger.is_safe_to_write() then
        -- The usual case of end_claim, without what the other endings need. A token that is not current is left to it.
        update record_ledger.record as r
        set lease_expires_at = null,
            cancellation = null,
            last_event = 'completed',
            last_detail = coalesce(complete_record.detail, '{}'),
            updated_at = record_ledger.clock()
        where r.pipeline_id = complete_record.pipeline_id
            and r.window_start_time = complete_record.window_start_time
            and r.claim_token = complete_record.claim_token and r.status = 'IN_PROGRESS';
        if found then
            return;
        end if;
    end if;
    perform record_ledger.end_claim(
        complete_record.pipeline_id,
        complete_record.claim_token,
        complete_record.window_start_time,
        'completed',
        coalesce(complete_record.detail, '{}')
    );
end
$$;
comment on function record_ledger.complete_record(text, bigint, jsonb, timestamptz) is
'Marks a passed record COMPLETED; detail is kept in its history. RL004 unless the claim token is current, and that of the window when one is named.';
