-- record_ledger.new_windows: the windows of a pipeline that are due and not stored, oldest first.
-- Reads only. Each window starts where the one before it ended. max_windows null returns all of them.
-- Called by: record_ledger_reader, the Python runner, dbt.
-- Uses: clock, due_windows, next_window_start, raise_unknown_pipeline, time_interval.
-- Tests: test_windows_stored.py, test_days.py.
create or replace function record_ledger.new_windows(
    pipeline_id text,
    as_of timestamptz default record_ledger.clock(),
    max_windows integer default null
)
returns table (
    target_day date,
    window_start_time timestamptz,
    window_end_time timestamptz,
    time_interval text
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    p record_ledger.pipeline;
begin
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = new_windows.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(pipeline_id);
    end if;
    if as_of is null or not isfinite(as_of) then
        raise exception 'as_of: % is not a valid instant', coalesce(as_of::text, 'null')
            using errcode = 'RL005';
    end if;
    if max_windows < 0 then
        raise exception 'max_windows: % is negative; give a number of windows, or null for all',
            max_windows
            using errcode = 'RL005';
    end if;
    return query
    select d.target_day, d.window_start_time, d.window_end_time,
        record_ledger.time_interval(d.window_start_time, d.window_end_time)
    from record_ledger.due_windows(
        p, record_ledger.next_window_start(p, as_of), as_of, max_windows
    ) as d;
end
$$;
comment on function record_ledger.new_windows(text, timestamptz, integer) is
'The windows of a pipeline that are due as of an instant and not stored yet, oldest first; reads only.';
