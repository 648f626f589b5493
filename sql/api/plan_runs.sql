-- record_ledger.plan_runs: simulates the next runs of a pipeline: which window each is passed, and when; writes
-- nothing.
-- It assumes that workers ask whenever they are free, and that each run takes run_duration and completes. The default
-- run_duration is the median of the newest completed runs.
-- It returns one row per run. When it foresees fewer runs than the caller asked for, a last row without run_no says
-- why.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: clock, expected_duration, is_stable, local_time, planned_passes, raise_unknown_pipeline, retry_time, shortened,
--   time_interval, window_timezone.
-- Tests: test_plan_runs.py, test_plan_agrees.py.
create or replace function record_ledger.plan_runs(
    pipeline_id text,
    runs integer default 10,
    at timestamptz default record_ledger.clock(),
    workers integer default 1,
    run_duration interval default null
)
returns table (
    run_no integer,
    window_start_time timestamptz,
    window_end_time timestamptz,
    target_day date,
    time_interval text,
    -- False while the run that is passed the window has yet to store it.
    is_stored boolean,
    stable_at timestamptz,
    -- Stable at the instant that is planned from.
    is_backlog boolean,
    starts_at timestamptz,
    ends_at timestamptz,
    generation integer,
    attempt integer,
    reason text,
    -- The first run at whose end no stable window waits any more.
    drains_backlog boolean
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
    p record_ledger.pipeline;
    v_from timestamptz := coalesce(plan_runs.at, record_ledger.clock());
    v_workers integer;
    v_duration interval := plan_runs.run_duration;
    v_problem text := case
        when plan_runs.runs between 1 and 10000 is not true
            then format('runs: %s is out of range; give 1 to 10000', coalesce(runs::text, 'null'))
        when plan_runs.workers between 1 and 1000 is not true
            then format(
                'workers: %s is out of range; give 1 to 1000', coalesce(workers::text, 'null')
            )
        when v_duration < interval '0' or v_duration > interval '30 days'
            then format('run_duration: %s is out of range; give 0 to 30 days', v_duration)
        when not isfinite(v_from)
            then format('at: %s is not a valid instant', v_from)
    end;
begin
    if v_problem is not null then
        raise exception '%', v_problem using errcode = 'RL005';
    end if;
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = plan_runs.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(plan_runs.pipeline_id);
    end if;
    if p.paused_at is not null then
        reason := format(
            'no run is passed a record: the pipeline was %s by %s at %s: %s',
            case when p.is_retired then 'retired' else 'paused' end,
            p.paused_by,
            record_ledger.local_time(p.paused_at, p.timezone),
            record_ledger.shortened(p.pause_reason, 1000)
        );
        return next;
        return;
    end if;
    v_workers := least(plan_runs.workers, p.max_active_records);
    -- Without its day part, which would follow the session's time zone.
    v_duration := coalesce(
        make_interval(secs => extract(epoch from v_duration)::double precision),
        record_ledger.expected_duration(p.pipeline_id)
    );
    return query
    select
        s.run_no,
        s.window_start_time,
        s.window_end_time,
        coalesce(r.target_day, s.target_day),
        record_ledger.time_interval(s.window_start_time, s.window_end_time),
        case when s.run_no is not null then r.pipeline_id is not null end,
        s.window_end_time + p.x_time_back,
        record_ledger.is_stable(s.window_end_time, p.x_time_back, v_from),
        s.starts_at,
        s.starts_at + coalesce(v_duration, interval '0'),
        case when s.run_no is not null then coalesce(r.generation, 1) end,
        case when s.run_no is not null then coalesce(r.attempt, 0) + 1 end,
        concat_ws(
            '; ',
            case
                when s.run_no is null and s.blocked_by is null then format(
                    'no later run is passed a record: %s %s empty in the pipeline''s config, '
                    'so every later record is incomplete',
                    record_ledger.shortened(array_to_string(p.missing_fields, ', '), 1000),
                    case cardinality(p.missing_fields) when 1 then 'is' else 'are' end
                )
                when s.run_no is null then format(
                    'no later run is passed a record: all wait for window %s, '
                    'which no run will finish (depends_on_past)',
                    record_ledger.local_time(
                        s.blocked_by, record_ledger.window_timezone(p, s.blocked_by)
                    )
                )
                when s.waited_for is null and s.run_no <= v_workers then 'starts immediately'
                when s.waited_for is null
                    then format('starts when run %s ends', s.run_no - v_workers)
                when s.starts_at = s.window_end_time + p.x_time_back
                    then 'starts when its data is stable'
                when s.starts_at = case r.status
                    when 'PENDING' then r.retry_at
                    when 'IN_PROGRESS' then record_ledger.retry_time(
                        r.lease_expires_at, r.attempt, r.window_end_time, p
                    )
                end then 'starts when its backoff is over'
                when s.waited_for = 'capacity'
                    then 'starts when a record in progress is done (max_active_records)'
                else 'starts when the windows before it are done (depends_on_past)'
            end,
            case when r.attempt > 0 then format(
                'attempt %s of %s%s', r.attempt + 1, p.max_attempts,
                case r.status
                    when 'IN_PROGRESS' then ', after the lease of the one before has run out'
                end
            ) end,
            case when s.is_shared then format(
                'the backfill_share gives the pass to a %s record',
                case when r.is_historical then 'historical' else 'live' end
            ) end,
            case when s.run_no is not null and v_duration is null
                then 'no completed run to measure: 0 s is assumed' end
        ),
        s.drains_backlog
    from record_ledger.planned_passes(
        p, plan_runs.runs, v_from, v_workers, v_duration
    ) as s
    left join lateral (
        select q.*
        from record_ledger.record as q
        where q.pipeline_id = p.pipeline_id and q.window_start_time = s.window_start_time
        limit 1
    ) as r on true;
end
$$;
comment on function record_ledger.plan_runs(text, integer, timestamptz, integer, interval) is
'Which windows the next runs of a pipeline will be passed, and when, if each takes run_duration and completes; a forecast that writes nothing.';
