-- record_ledger.cancel_records: asks the runs that hold the records of a range to stop; their claims are cancelled.
-- Those whose whole window lies in [from_time, to_time); others are left alone. Returns how many changed. A run learns
-- of it from claim_state, and keeps its claim until it has stopped, so no second run begins beside it. However the
-- claim ends then, the record is FAILED, unless the run completes it; no run is passed it before it is reopened.
-- Called by: operators, through the runner's command cancel, the dbt macro of the same name, or psql.
-- Rules: status_after, is_in_range; check_record_change guards the change.
create or replace function record_ledger.cancel_records(
    pipeline_id text, from_time timestamptz, to_time timestamptz, reason text
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    p record_ledger.pipeline;
    v_now timestamptz;
    v_changed integer;
begin
    perform record_ledger.check_reason(reason);
    perform record_ledger.check_range(from_time, to_time);
    -- A pass could otherwise hand one of the records to its run again, with a claim that is not cancelled.
    p := record_ledger.lock_pipeline(pipeline_id);
    v_now := record_ledger.clock();
    -- A run may be ending its claim right now: whoever comes second waits for the first one's commit, and then sees the
    -- record as that one left it.
    update record_ledger.record as r
    set cancellation = jsonb_build_object(
            'cancelled_by', session_user,
            'cancelled_at', record_ledger.local_time(v_now, p.timezone),
            'cancel_reason', reason
        ),
        last_event = 'cancelled',
        last_detail = jsonb_build_object('reason', reason),
        updated_at = v_now
    where r.pipeline_id = p.pipeline_id
        and record_ledger.is_in_range(r.window_start_time, r.window_end_time, from_time, to_time)
        and record_ledger.status_after(
            'cancel',
            r.status,
            r.attempt < p.max_attempts,
            r.cancellation is not null,
            record_ledger.is_lost(r.window_end_time, p.source_retention, v_now)
        ) is not null;
    get diagnostics v_changed = row_count;
    return v_changed;
end
$$;
comment on function record_ledger.cancel_records(text, timestamptz, timestamptz, text) is
'Asks the runs that hold records whose whole window lies in a range to stop, with a reason; returns how many. Unless completed they end as FAILED.';
