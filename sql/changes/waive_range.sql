-- record_ledger.waive_range: marks pending and failed records of a locked pipeline WAIVED; returns how many.
-- It changes records whose whole window lies in the range and that status_after lets change; it leaves others alone.
-- check_record_change guards the change.
-- Called by: change_range.
-- Uses: is_in_range, is_lost, status_after.
-- Tests: test_ranges.py.
create or replace function record_ledger.waive_range(
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
    update record_ledger.record as r
    set retry_at = null,
        postponement = null,
        last_event = 'waived',
        last_detail = jsonb_build_object('reason', reason),
        updated_at = as_of
    where r.pipeline_id = p.pipeline_id
        and record_ledger.is_in_range(r.window_start_time, r.window_end_time, from_time, to_time)
        and record_ledger.status_after(
            'waive',
            r.status,
            r.attempt < p.max_attempts,
            r.cancellation is not null,
            record_ledger.is_lost(r.window_end_time, p.source_retention, as_of)
        ) is not null;
    get diagnostics v_changed = row_count;
    return v_changed;
end
$$;
comment on function record_ledger.waive_range(
    record_ledger.pipeline, timestamptz, timestamptz, text, timestamptz
) is
'Private. Marks the pending and failed records of a range of a locked pipeline WAIVED; returns how many.';
