-- record_ledger.days_with_windows: the local days of a pipeline, from its first window's to the last of its newest one.
-- It has every date between them, whether the ledger or the archive has its windows.
-- Called by: daily_coverage.
-- Uses: last_window, local_day.
-- Tests: test_sealed_days.py.
create or replace function record_ledger.days_with_windows(p record_ledger.pipeline)
returns table (local_date date)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
    v_first timestamptz;
    v_last timestamptz;
begin
    select a.window_start_time into v_first
    from record_ledger.archived_record as a
    where a.pipeline_id = p.pipeline_id
    order by a.window_start_time
    limit 1;
    if v_first is null then
        select r.window_start_time into v_first
        from record_ledger.record as r
        where r.pipeline_id = p.pipeline_id
        order by r.window_start_time
        limit 1;
    end if;
    -- A window that was cut with another zone may end in the day after that of its start.
    select l.window_end_time - interval '1 microsecond' into v_last
    from record_ledger.last_window(p.pipeline_id) as l;
    return query
    select record_ledger.local_day(v_first, p.timezone) + n
    from generate_series(
        0,
        record_ledger.local_day(v_last, p.timezone) - record_ledger.local_day(v_first, p.timezone)
    ) as n;
end
$$;
comment on function record_ledger.days_with_windows(record_ledger.pipeline) is
'The local days of a pipeline from its first window to its newest one, archived ones included.';
