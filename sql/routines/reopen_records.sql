-- record_ledger.reopen_records: makes the finished and failed records of a range pending once more.
-- Those whose whole window lies in [from_time, to_time); others are left alone. Returns how many changed. A new
-- generation begins with no attempt made; what earlier ones did stays in record_events, and runs stay bound.
-- Called by: operators, through the runner's command reopen, the dbt macro of the same name, or psql.
-- Rules: status_after, is_in_range, record_missing_fields; check_record_change guards the change.
create or replace function record_ledger.reopen_records(
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
    -- A pass would otherwise judge by what was open before, and another operator reopen a record twice.
    p := record_ledger.lock_pipeline(pipeline_id);
    v_now := record_ledger.clock();
    update record_ledger.record as r
    set generation = r.generation + 1,
        attempt = 0,
        claim_token = null,
        run_id = null,
        retry_at = null,
        -- The config may be another one than when the record was finished.
        missing_fields = record_ledger.record_missing_fields(r.fields, r.config_version, p),
        awaits_build = r.config_version is distinct from p.config_version
            and record_ledger.record_missing_fields(r.fields, r.config_version, p) is not null,
        last_event = 'reopened',
        last_detail = jsonb_build_object('reason', reason),
        updated_at = v_now
    where r.pipeline_id = p.pipeline_id
        and record_ledger.is_in_range(r.window_start_time, r.window_end_time, from_time, to_time)
        and record_ledger.status_after('reopen', r.status, r.attempt < p.max_attempts) is not null;
    get diagnostics v_changed = row_count;
    return v_changed;
end
$$;
comment on function record_ledger.reopen_records(text, timestamptz, timestamptz, text) is
'Makes the completed, failed and waived records whose whole window lies in a range PENDING once more, with a reason; returns how many.';
