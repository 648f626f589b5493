-- record_ledger.next_window_start: where the first window that is not stored yet starts.
-- The end of the last stored window; before there is one, start_at or the first instant of the target day.
-- Read by: new_windows, store_windows, windows_to_build, no_records_reason, pipeline_progress.
-- Rules: local_day, day_start.
create or replace function record_ledger.next_window_start(p record_ledger.pipeline, as_of timestamptz)
returns timestamptz
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_last_end timestamptz := (
        select r.window_end_time
        from record_ledger.record as r
        where r.pipeline_id = p.pipeline_id
        order by r.window_start_time desc
        limit 1
    );
begin
    if v_last_end is not null then
        return v_last_end;
    end if;
    return coalesce(
        p.start_at, record_ledger.day_start(record_ledger.local_day(as_of - p.x_time_back, p.timezone), p.timezone)
    );
end
$$;
comment on function record_ledger.next_window_start(record_ledger.pipeline, timestamptz) is
'Where the first window of a pipeline that is not stored yet starts.';
