-- record_ledger.window_time: the start of the window that people of a pipeline name by a local time or a date.
-- A window is named by the clock that it was cut with, which is how tables show it. A text that names no stored window
-- so is a time of the zone in force. A text that could be two windows, or that clocks skip, raises RL005.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: day_start, last_window, local_instant, local_instants, local_time, pipeline_time, raise_unknown_pipeline,
--   wall_time.
-- Tests: test_zones.py.
create or replace function record_ledger.window_time(pipeline_id text, time_text text)
returns timestamptz
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_wall constant timestamp := record_ledger.wall_time(window_time.time_text);
    v_is_date constant boolean := length(window_time.time_text) = length('2026-01-01');
    v_timezone text;
    v_last_end timestamptz;
    v_starts timestamptz[];
    v_names text[];
begin
    if v_wall is null then
        return record_ledger.pipeline_time(window_time.pipeline_id, window_time.time_text);
    end if;
    select p.timezone into v_timezone
    from record_ledger.pipeline as p
    where p.pipeline_id = window_time.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(window_time.pipeline_id);
    end if;
    select l.window_end_time into v_last_end
    from record_ledger.last_window(window_time.pipeline_id) as l;

    select
        array_agg(c.instant order by c.instant),
        array_agg(record_ledger.local_time(c.instant, c.timezone) order by c.instant)
    into v_starts, v_names
    from (
        select i.instant, s.timezone
        from (
            select
                z.timezone,
                z.from_time,
                lead(z.from_time, 1, v_last_end) over (order by z.from_time) as to_time,
                true as is_stored
            from record_ledger.pipeline_zone as z
            where z.pipeline_id = window_time.pipeline_id
            union all
            -- What is not stored yet may be any window of the zone in force.
            select v_timezone, coalesce(v_last_end, '-infinity'), 'infinity', false
        ) as s
        cross join lateral unnest(
            case
                when v_is_date
                    then array[record_ledger.day_start(v_wall::date, s.timezone)]
                else record_ledger.local_instants(v_wall, s.timezone)
            end
        ) as i (instant)
        where i.instant >= s.from_time
            and i.instant < s.to_time
            and (
                not s.is_stored
                or exists (
                    select
                    from record_ledger.record as r
                    where r.pipeline_id = window_time.pipeline_id
                        and r.window_start_time = i.instant
                )
                or exists (
                    select
                    from record_ledger.archived_record as a
                    where a.pipeline_id = window_time.pipeline_id
                        and a.window_start_time = i.instant
                )
            )
    ) as c;
    if cardinality(v_starts) > 1 then
        raise exception 'time_text: "%" could be two windows of pipeline %: % and %',
            window_time.time_text, window_time.pipeline_id, v_names[1], v_names[2]
            using errcode = 'RL005', hint = 'Give one of the two, with its offset.';
    elsif v_starts is not null then
        return v_starts[1];
    end if;
    if not v_is_date and record_ledger.local_instants(v_wall, v_timezone) = '{}' then
        raise exception
            'time_text: "%" names no window: clocks of % skip that time; the next one is %',
            window_time.time_text,
            v_timezone,
            record_ledger.local_time(
                record_ledger.local_instant(v_wall, v_timezone), v_timezone
            )
            using errcode = 'RL005', hint = 'Give the window''s start as tables show it.';
    end if;
    return record_ledger.pipeline_time(window_time.pipeline_id, window_time.time_text);
end
$$;
comment on function record_ledger.window_time(text, text) is
'The start of the window that people name by a local time or a date, by the clock that it was cut with; RL005 when it could be two.';
