-- record_ledger.windows_to_build: what a runner must render before the ledger can store and pass.
-- A run that has a record renders that one. Other runs render the due windows (at most 10,000). Where the next record
-- is outdated, they also render it and the outdated ones among the next record_limit of each kind: other runs may be
-- passed the first meanwhile.
-- Each window names, as timezone, the zone that it was or will be cut with: its times have that zone's offsets, and
-- templates see its clock. An entry of built has to name the same config_version.
-- Called by: batch_to_build, register_store_and_pass.
-- Uses: due_windows, incomplete_lanes, is_lost, is_stable, json_time, next_window_start, time_interval,
--   window_timezone.
-- Tests: test_building.py, test_rebuilding.py.
create or replace function record_ledger.windows_to_build(
    p record_ledger.pipeline,
    -- The record that the pass would take next; null when neither it nor a later one can be outdated.
    next_window timestamptz,
    -- The run has that record, and is passed no other.
    is_bound boolean,
    -- No record of the lane 'waiting' that starts before it can be passed.
    waiting_mark timestamptz,
    record_limit integer,
    as_of timestamptz
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
                'time_interval', record_ledger.time_interval(
                    w.window_start_time, w.window_end_time
                ),
                'timezone', coalesce(w.timezone, p.timezone),
                'config_version', p.config_version
            )
            -- The next record first: without it no record can be passed.
            order by
                w.window_start_time is not distinct from windows_to_build.next_window desc,
                w.window_start_time
        ),
        '[]'
    )
    into v_windows
    from (
        select
            r.target_day,
            r.window_start_time,
            r.window_end_time,
            nullif(record_ledger.window_timezone(p, r.window_start_time), p.timezone) as timezone
        from record_ledger.record as r
        where r.pipeline_id = p.pipeline_id
            and r.window_start_time = windows_to_build.next_window
            and coalesce(r.config_version < p.fields_version, true)
        union
        select
            o.target_day,
            o.window_start_time,
            o.window_end_time,
            nullif(record_ledger.window_timezone(p, o.window_start_time), p.timezone)
        from (
            select
                r.target_day,
                r.window_start_time,
                r.window_end_time,
                coalesce(r.config_version < p.fields_version, true) as is_outdated,
                row_number() over (
                    partition by r.is_historical
                    order by r.window_start_time
                ) as place
            from unnest(
                array['historical', 'retry', 'retryh', 'returned', 'waiting'] || array(
                    select l.lane
                    from record_ledger.incomplete_lanes(p.pipeline_id, p.fields_version)
                        as l (lane)
                )
            ) as l (lane)
            cross join lateral (
                (
                    select
                        q.target_day,
                        q.window_start_time,
                        q.window_end_time,
                        q.config_version,
                        q.is_historical
                    from record_ledger.record as q
                    where q.open_pipeline_id = p.pipeline_id and q.lane = l.lane
                        and l.lane not in ('retry', 'retryh')
                        and q.window_start_time >= case
                            when l.lane = 'waiting' then coalesce(waiting_mark, '-infinity')
                            else '-infinity'
                        end
                        and (q.retry_at is null or q.retry_at <= as_of)
                        and record_ledger.is_stable(q.window_end_time, p.x_time_back, as_of)
                        and not record_ledger.is_lost(
                            q.window_end_time, p.source_retention, as_of
                        )
                    order by q.window_start_time
                    limit record_limit
                )
                union all
                (
                    select
                        q.target_day,
                        q.window_start_time,
                        q.window_end_time,
                        q.config_version,
                        q.is_historical
                    from record_ledger.record as q
                    where q.open_pipeline_id = p.pipeline_id and q.lane = l.lane
                        and l.lane in ('retry', 'retryh')
                        and q.lease_expires_at is null and q.retry_at <= as_of
                        and record_ledger.is_stable(q.window_end_time, p.x_time_back, as_of)
                        and not record_ledger.is_lost(
                            q.window_end_time, p.source_retention, as_of
                        )
                    order by q.lease_expires_at, q.retry_at
                    limit record_limit
                )
            ) as r
            where windows_to_build.next_window is not null and not is_bound
        ) as o
        where o.is_outdated and o.place <= record_limit
        union all
        select d.target_day, d.window_start_time, d.window_end_time, null as timezone
        from record_ledger.due_windows(
            p, record_ledger.next_window_start(p, as_of), as_of, 10000
        ) as d
        where not is_bound
    ) as w;
    return v_windows;
end
$$;
comment on function record_ledger.windows_to_build(
    record_ledger.pipeline, timestamptz, boolean, timestamptz, integer, timestamptz
) is
'Private. The windows whose templates the caller must render and send back as built.';
