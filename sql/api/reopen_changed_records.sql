-- record_ledger.reopen_changed_records: reopens completed records whose source has changed beyond the tolerance.
-- It reopens the oldest first, and at most reopen_budget in one local day of the pipeline. The rest waits in
-- changed_records for the next day. A record whose source data is gone is left alone. Returns how many it reopened.
-- A daily task calls it.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: append_pipeline_event, changed_records, clock, local_day, local_time, lock_pipeline, reopen_range.
-- Tests: test_recounts.py, test_recount_sessions.py.
create or replace function record_ledger.reopen_changed_records(pipeline_id text)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    -- Otherwise two calls could spend the budget twice, and a pass could miss what is reopened.
    p record_ledger.pipeline := record_ledger.lock_pipeline(reopen_changed_records.pipeline_id);
    v_now timestamptz := record_ledger.clock();
    v_left integer;
    v_changed record;
    v_reopened integer := 0;
begin
    select p.reopen_budget - coalesce(sum((e.detail ->> 'count')::integer), 0) into v_left
    from record_ledger.pipeline_event as e
    where e.pipeline_id = p.pipeline_id
        and e.event = 'changed_reopened'
        and record_ledger.local_day(e.event_time, p.timezone)
            = record_ledger.local_day(v_now, p.timezone);
    for v_changed in
        select c.*
        from record_ledger.changed_records as c
        where c.pipeline_id = p.pipeline_id and c.is_beyond_tolerance
        order by c.window_start_time
    loop
        exit when v_reopened >= v_left;
        v_reopened := v_reopened + record_ledger.reopen_range(
            p,
            v_changed.window_start_time,
            v_changed.window_end_time,
            jsonb_build_object(
                'reason', format(
                    'the source has changed: %s rows were loaded, and %s counted at %s',
                    v_changed.loaded_count,
                    v_changed.source_count,
                    record_ledger.local_time(v_changed.observed_at, p.timezone)
                ),
                'changed_by', v_changed.changed_by
            ),
            v_now
        );
    end loop;
    if v_reopened > 0 then
        perform record_ledger.append_pipeline_event(
            p.pipeline_id,
            'changed_reopened',
            jsonb_build_object('count', v_reopened),
            v_now
        );
    end if;
    return v_reopened;
end
$$;
comment on function record_ledger.reopen_changed_records(text) is
'Reopens completed records whose source has changed beyond the tolerance, oldest first, within the day''s reopen_budget; returns how many.';
