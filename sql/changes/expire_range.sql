-- record_ledger.expire_range: takes back records of a locked pipeline from the runs that hold them; returns how many.
-- It changes records whose whole window lies in the range and that status_after lets change; it leaves others alone.
-- check_record_change guards the change.
-- Called by: change_range.
-- Uses: is_in_range, is_lost, local_time, retry_time, status_after.
-- Tests: test_ranges.py.
create or replace function record_ledger.expire_range(
    p record_ledger.pipeline,
    from_time timestamptz,
    to_time timestamptz,
    reason text,
    as_of timestamptz
)
returns integer
language plpgsql
as $$
declare
    v_changed integer;
begin
    -- A run that is not dead may be ending its claim right now: the second of both waits for the first one's commit,
    -- and then sees the record as the first one left it.
    update record_ledger.record as r
    set retry_at = case
            when r.attempt < p.max_attempts
                then record_ledger.retry_time(as_of, r.attempt, r.window_end_time, p)
        end,
        claim_token = case when r.attempt < p.max_attempts then null else r.claim_token end,
        run_id = case when r.attempt < p.max_attempts then null else r.run_id end,
        lease_expires_at = null,
        cancellation = null,
        last_event = 'lease_expired',
        last_detail = jsonb_build_object(
            'reason', reason,
            'lease_expires_at', record_ledger.local_time(r.lease_expires_at, p.timezone)
        ),
        updated_at = as_of
    where r.pipeline_id = p.pipeline_id
        and record_ledger.is_in_range(r.window_start_time, r.window_end_time, from_time, to_time)
        and record_ledger.status_after(
            'expire',
            r.status,
            r.attempt < p.max_attempts,
            r.cancellation is not null,
            record_ledger.is_lost(r.window_end_time, p.source_retention, as_of)
        ) is not null;
    get diagnostics v_changed = row_count;
    return v_changed;
end
$$;
comment on function record_ledger.expire_range(
    record_ledger.pipeline, timestamptz, timestamptz, text, timestamptz
) is
'Private. Takes back the records of a range of a locked pipeline that runs hold; returns how many.';
