-- record_ledger.windows_to_build: what a runner must render before the ledger can store and pass.
-- Due windows (10,000 at most) and the 100 oldest stable records that are unbuilt or outdated, times in local offsets.
-- Beside the fields each names the zone it was cut with, or will be, as timezone: templates see that zone's clock.
-- Lost ones need no building: the next pass waives them.
-- Called by: store_new_and_pass_valid_record.
-- Rules: next_window_start, due_windows, is_stable, is_lost, window_timezone, json_time.
create or replace function record_ledger.windows_to_build(
    p record_ledger.pipeline, config_is_new boolean, as_of timestamptz
)
returns jsonb
language plpgsql
stable
-- Ends the effect of set_config below with this function: a caller's session keeps its time zone.
set timezone = 'UTC'
as $$
declare
    v_windows jsonb;
begin
    perform pg_catalog.set_config('timezone', p.timezone, true);
    select coalesce(
        jsonb_agg(
            jsonb_build_object(
                'pipeline_id', p.pipeline_id,
                'target_day', w.target_day,
                'window_start_time', record_ledger.json_time(w.window_start_time, w.timezone),
                'window_end_time', record_ledger.json_time(w.window_end_time, w.timezone),
                'time_interval', record_ledger.time_interval(w.window_start_time, w.window_end_time),
                'timezone', coalesce(w.timezone, p.timezone)
            )
            order by w.window_start_time
        ),
        '[]'
    )
    into v_windows
    from (
        (
            select r.target_day, r.window_start_time, r.window_end_time,
                nullif(record_ledger.window_timezone(p, r.window_start_time), p.timezone)
                    as timezone
            from record_ledger.record as r
            where r.open_pipeline_id = p.pipeline_id
                -- A config that is not in force yet makes every incomplete record an outdated one.
                and r.lane in (
                    'unbuilt', case when config_is_new then 'incomplete' else 'unbuilt' end
                )
                and record_ledger.is_stable(r.window_end_time, p.x_time_back, as_of)
                and not record_ledger.is_lost(r.window_end_time, p.source_retention, as_of)
            order by r.window_start_time
            limit 100
        )
        union all
        select d.target_day, d.window_start_time, d.window_end_time, null as timezone
        from record_ledger.due_windows(
            p, record_ledger.next_window_start(p, as_of), as_of, 10000
        ) as d
    ) as w;
    return v_windows;
end
$$;
comment on function record_ledger.windows_to_build(record_ledger.pipeline, boolean, timestamptz) is
'Private. The windows whose templates the caller must render and send back as built.';
