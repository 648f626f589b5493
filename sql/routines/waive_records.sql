-- record_ledger.waive_records: marks the pending and failed records of a range WAIVED: no run is needed for them.
-- Those whose whole window lies in [from_time, to_time); others are left alone. Returns how many changed.
-- Called by: operators, through the runner's command waive, the dbt macro of the same name, or psql.
-- Rules: status_after, is_in_range; check_record_change guards the change.
create or replace function record_ledger.waive_records(
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
    -- A pass could otherwise hand out the very record that is being waived.
    p := record_ledger.lock_pipeline(pipeline_id);
    v_now := record_ledger.clock();
    update record_ledger.record as r
    set retry_at = null,
        postponement = null,
        last_event = 'waived',
        last_detail = jsonb_build_object('reason', reason),
        updated_at = v_now
    where r.pipeline_id = p.pipeline_id
        and record_ledger.is_in_range(r.window_start_time, r.window_end_time, from_time, to_time)
        and record_ledger.status_after(
            'waive',
            r.status,
            r.attempt < p.max_attempts,
            r.cancellation is not null,
            record_ledger.is_lost(r.window_end_time, p.source_retention, v_now)
        ) is not null;
    get diagnostics v_changed = row_count;
    return v_changed;
end
$$;
comment on function record_ledger.waive_records(text, timestamptz, timestamptz, text) is
'Marks the pending and failed records whose whole window lies in a range as WAIVED, with a reason; returns how many.';
