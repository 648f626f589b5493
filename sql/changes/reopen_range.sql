-- record_ledger.reopen_range: makes the records of a range of a locked pipeline pending once more; returns how many.
-- It changes records whose whole window lies in the range and that status_after lets reopen; it leaves others alone.
-- check_record_change guards the change.
-- Called by: change_range, reopen_changed_records.
-- Uses: is_in_range, is_lost, status_after, void_marks.
-- Tests: test_ranges.py, test_starting_again.py.
create or replace function record_ledger.reopen_range(
    p record_ledger.pipeline,
    from_time timestamptz,
    to_time timestamptz,
    detail jsonb,
    as_of timestamptz
)
returns integer
language plpgsql
as $$
declare
    v_changed integer;
begin
    -- Once for all of them, below: check_record_change would do it for each.
    perform set_config('record_ledger.voids_marks', 'on', true);
    update record_ledger.record as r
    set generation = r.generation + 1,
        attempt = 0,
        claim_token = null,
        run_id = null,
        retry_at = null,
        last_event = 'reopened',
        last_detail = detail,
        updated_at = as_of
    where r.pipeline_id = p.pipeline_id
        and record_ledger.is_in_range(r.window_start_time, r.window_end_time, from_time, to_time)
        and record_ledger.status_after(
            'reopen',
            r.status,
            r.attempt < p.max_attempts,
            r.cancellation is not null,
            record_ledger.is_lost(r.window_end_time, p.source_retention, as_of)
        ) is not null;
    get diagnostics v_changed = row_count;
    perform set_config('record_ledger.voids_marks', 'off', true);
    perform record_ledger.void_marks(p.pipeline_id);
    return v_changed;
end
$$;
comment on function record_ledger.reopen_range(
    record_ledger.pipeline, timestamptz, timestamptz, jsonb, timestamptz
) is
'Private. Makes the finished and failed records of a range of a locked pipeline pending once more; returns how many.';
