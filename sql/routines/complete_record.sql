-- record_ledger.complete_record: marks a passed record COMPLETED.
-- Needs the current claim token (RL004 else), and when a window is named, that of the claim. Repeating it with the
-- token that completed changes nothing.
-- Called by: everyone who was passed a record.
-- Rules: end_claim, check_detail.
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
begin
    if complete_record.detail <> '{}' then
        perform record_ledger.check_detail(complete_record.detail);
    end if;
    perform record_ledger.end_claim(
        pipeline_id, claim_token, window_start_time, 'completed', coalesce(detail, '{}')
    );
end
$$;
comment on function record_ledger.complete_record(text, bigint, jsonb, timestamptz) is
'Marks a passed record COMPLETED; detail is kept in its history. RL004 unless the claim token is current, and that of the window when one is named.';
