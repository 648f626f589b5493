-- record_ledger.is_completed_by: did this claim complete its record, and that of the window when one is named?
-- It is also true when the record was reopened or archived since.
-- Called by: complete_records.
-- Uses: none.
-- Tests: test_complete_records.py.
create or replace function record_ledger.is_completed_by(
    pipeline_id text, claim_token bigint, window_start_time timestamptz
)
returns boolean
language plpgsql
stable
as $$
declare
    v_start timestamptz;
begin
    select c.window_start_time into v_start
    from record_ledger.claim as c
    where c.pipeline_id = is_completed_by.pipeline_id
        and c.claim_token = is_completed_by.claim_token;
    if v_start is null or v_start <> is_completed_by.window_start_time then
        return false;
    end if;
    return exists (
        select
        from record_ledger.record_event as e
        where e.pipeline_id = is_completed_by.pipeline_id and e.window_start_time = v_start
            and e.claim_token = is_completed_by.claim_token and e.event = 'completed'
    ) or exists (
        select
        from record_ledger.archived_record_event as e
        where e.pipeline_id = is_completed_by.pipeline_id and e.window_start_time = v_start
            and e.claim_token = is_completed_by.claim_token and e.event = 'completed'
    );
end
$$;
comment on function record_ledger.is_completed_by(text, bigint, timestamptz) is
'Private. Whether a claim completed its record, and that of the window when one is named.';
