-- record_ledger.pipeline_time: reads an ISO 8601 time as people of a pipeline write it.
-- A time without an offset is the local time of the zone in force, and a bare date is its first instant. A time that
-- clocks skip is the end of the gap. A text that is not a time, or that clocks show twice, raises RL005.
-- Called by: record_ledger_reader, the Python runner, dbt, window_time.
-- Uses: raise_unknown_pipeline, start_instant, twofold_time.
-- Tests: test_zones.py, test_range_effects.py.
create or replace function record_ledger.pipeline_time(pipeline_id text, time_text text)
returns timestamptz
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_timezone text;
    v_instant timestamptz;
    v_problem text;
begin
    select p.timezone into v_timezone
    from record_ledger.pipeline as p
    where p.pipeline_id = pipeline_time.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(pipeline_id);
    end if;
    v_instant := record_ledger.start_instant(time_text, v_timezone);
    if v_instant is null then
        raise exception 'time_text: % is not a valid time',
            coalesce('"' || left(time_text, 80) || '"', 'null')
            using errcode = 'RL005',
            hint = 'Give ISO 8601 of the years 1900 to 9000, such as "2026-01-01" or '
                '"2026-01-01T06:00" (local time of the '
                'pipeline), or with an offset "2026-01-01T06:00+01:00".';
    end if;
    v_problem := record_ledger.twofold_time(time_text, v_timezone);
    if v_problem is not null then
        raise exception 'time_text: %', v_problem
            using errcode = 'RL005', hint = 'Give one of the two, with its offset.';
    end if;
    return v_instant;
end
$$;
comment on function record_ledger.pipeline_time(text, text) is
'An ISO 8601 time as an instant: without an offset it is the pipeline''s local time, a bare date its first instant; RL005 when clocks show it twice.';
