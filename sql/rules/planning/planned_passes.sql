-- record_ledger.planned_passes: which window each of the next runs is passed, and when, by the rules of a pass.
-- It assumes that workers ask whenever they are free, that a run completes after run_duration, and that claims end as
-- expected_claims says. An outdated record is built, and complete where default_record fills all check_fields. A last
-- row without run_no ends a plan that cannot continue; blocked_by then says which window holds it up.
-- It follows next_answer and next_candidate, over the records that are still to be passed then.
-- Called by: plan_runs.
-- Uses: expected_claims, incomplete_lanes, is_lost, is_stable, next_turn, next_window, next_window_start,
--   pending_in_order, stuck_window, waiting_for_retry.
-- Tests: test_plan_agrees.py, test_plan_runs.py, test_plan_reads.py.
create or replace function record_ledger.planned_passes(
    p record_ledger.pipeline,
    runs integer,
    as_of timestamptz,
    workers integer,
    run_duration interval
)
returns table (
    run_no integer,
    window_start_time timestamptz,
    window_end_time timestamptz,
    -- Null for a record, which knows its own.
    target_day date,
    starts_at timestamptz,
    -- What a free worker waited for: null, 'time', 'capacity' or 'past'.
    waited_for text,
    -- The backfill_share chose between two that were stable.
    is_shared boolean,
    blocked_by timestamptz,
    -- The first run at whose end no stable window waits any more.
    drains_backlog boolean
)
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    v_now timestamptz := as_of;
    v_duration constant interval := coalesce(run_duration, interval '0');
    -- default_record fills all check_fields: so outdated records, and windows not stored yet, will be complete.
    v_can_build constant boolean := p.missing_fields is null;
    -- Kind 2 are the historical records of a pipeline with a backfill_share, kind 1 all others.
    v_kinds constant integer := case when p.backfill_share > 0 then 2 else 1 end;
    -- Windows are ranges of time, which compare by their starts. This one comes after all others.
    v_none constant tstzrange := tstzrange('infinity', 'infinity', '[]');
    -- Ordered by their ends: claims in progress, and planned runs. The ..._over say how many have ended by v_now.
    v_claims tstzrange[];
    v_claim_ends timestamptz[];
    v_claims_over integer;
    v_ends timestamptz[] := '{}';
    v_ends_over integer;
    -- Records that wait for an instant, by that instant, and how many waits are over; the ready ones, by their start.
    v_backoff tstzrange[];
    v_backoff_ends timestamptz[];
    v_backoff_over integer := 0;
    v_ready tstzrange[] := '{}';
    v_ready_kind integer[] := '{}';
    -- The oldest open record that no run will ever finish.
    v_stuck tstzrange;
    v_stuck_claims timestamptz[];
    -- Of each kind: the other pending records, oldest first, and the first of them; the next one of all.
    v_lanes text[];
    v_streams refcursor[];
    v_stream refcursor;
    v_head tstzrange[];
    v_next tstzrange[];
    v_stable boolean[];
    -- Where the window after the stored ones and those of the plan starts, and the day of the newest of these.
    v_first_new constant timestamptz := record_ledger.next_window_start(p, as_of);
    v_new_start timestamptz := v_first_new;
    v_new_day date;
    v_newest record;
    v_row record;
    v_bounds tstzrange;
    v_turn record;
    v_kind integer;
    v_place integer;
    v_credit numeric;
    v_obstacle text;
    v_waited_for text;
    v_is_drained boolean := false;
begin
    select
        c.waiting_mark,
        c.active_mark,
        -- Not after a lease was shortened.
        case when c.claim_token > coalesce(p.marks_void_at, 0) then c.lease_mark end as lease_mark,
        c.historical_credit
    into v_newest
    from record_ledger.claim as c
    where c.pipeline_id = p.pipeline_id
    order by c.claim_token desc
    limit 1;
    v_credit := coalesce(v_newest.historical_credit, 0);
    select
        array_agg(c.bounds order by c.busy_until) filter (where c.busy_until is not null),
        array_agg(c.busy_until order by c.busy_until) filter (where c.busy_until is not null),
        array_agg(c.bounds order by c.retry_at) filter (where c.retry_at is not null),
        array_agg(c.retry_at order by c.retry_at) filter (where c.retry_at is not null),
        array_agg(lower(c.bounds)) filter (where c.is_stuck)
    into v_claims, v_claim_ends, v_backoff, v_backoff_ends, v_stuck_claims
    from (
        select e.bounds, e.busy_until, e.retry_at, e.is_stuck
        from record_ledger.expected_claims(
            p, v_newest.active_mark, v_newest.lease_mark, 10 * runs, run_duration, as_of
        ) as e
        union all
        select w.bounds, null, w.retry_at, null
        from record_ledger.waiting_for_retry(p, runs) as w
    ) as c;
    v_claims := coalesce(v_claims, '{}');
    v_claim_ends := coalesce(v_claim_ends, '{}');
    v_backoff := coalesce(v_backoff, '{}');
    v_backoff_ends := coalesce(v_backoff_ends, '{}');
    for k in 1 .. v_kinds loop
        v_lanes := array(
            select l.lane
            from record_ledger.incomplete_lanes(p.pipeline_id, p.fields_version) as l (lane)
            where v_can_build and (v_kinds = 1 or (l.lane like '%h') = (k = 2))
        );
        v_stream := null;
        open v_stream for
            select w.window_start_time, w.window_end_time, w.retry_at
            from record_ledger.pending_in_order(
                p.pipeline_id,
                k,
                v_kinds,
                v_newest.waiting_mark,
                v_lanes,
                case when not v_can_build then p.fields_version end
            ) as w;
        v_streams[k] := v_stream;
    end loop;

    <<plan>>
    for v_run in 1 .. runs + 1 loop
        -- A worker that was already free keeps waiting for what the one before it waited for.
        if v_ends[v_run - workers] >= v_now then
            v_now := v_ends[v_run - workers];
            v_waited_for := null;
        end if;
        loop
            -- ------------------------------------------------ what is over by now
            v_claims_over := width_bucket(v_now, v_claim_ends);
            v_ends_over := width_bucket(v_now, v_ends);
            while v_backoff_ends[v_backoff_over + 1] <= v_now loop
                v_backoff_over := v_backoff_over + 1;
                v_place := width_bucket(v_backoff[v_backoff_over], v_ready);
                v_kind := (
                    select case when r.is_historical then v_kinds else 1 end
                    from record_ledger.record as r
                    where r.pipeline_id = p.pipeline_id
                        and r.window_start_time = lower(v_backoff[v_backoff_over])
                );
                v_ready := v_ready[:v_place] || v_backoff[v_backoff_over] || v_ready[v_place + 1:];
                v_ready_kind := v_ready_kind[:v_place] || v_kind || v_ready_kind[v_place + 1:];
            end loop;

            -- ------------------------------------------------ what no run will ever finish, until it is lost
            while v_stuck is null
                or record_ledger.is_lost(upper(v_stuck), p.source_retention, v_now)
            loop
                v_row := record_ledger.stuck_window(p, upper(v_stuck), v_stuck_claims);
                v_stuck := case
                    when v_row.window_start_time is null then v_none
                    else tstzrange(v_row.window_start_time, v_row.window_end_time)
                end;
            end loop;

            -- ------------------------------------------------ the next record of each kind
            for k in 1 .. v_kinds loop
                v_stream := v_streams[k];
                while v_head[k] is null
                    or record_ledger.is_lost(upper(v_head[k]), p.source_retention, v_now)
                loop
                    fetch v_stream into v_row;
                    v_bounds := case
                        when v_row.window_start_time is not null
                            then tstzrange(v_row.window_start_time, v_row.window_end_time)
                    end;
                    if record_ledger.is_lost(upper(v_bounds), p.source_retention, v_now) then
                        continue;
                    elsif v_row.retry_at > v_now then
                        v_row.retry_at := least(
                            v_row.retry_at, v_row.window_end_time + p.source_retention
                        );
                        v_place := width_bucket(v_row.retry_at, v_backoff_ends);
                        v_backoff := v_backoff[:v_place] || v_bounds || v_backoff[v_place + 1:];
                        v_backoff_ends := v_backoff_ends[:v_place] || v_row.retry_at
                            || v_backoff_ends[v_place + 1:];
                    elsif v_bounds is not null then
                        v_head[k] := v_bounds;
                    elsif k = 1 and v_can_build then
                        -- Not stored yet: a stable window is also due, so the run that is passed it stores it.
                        v_row := record_ledger.next_window(v_new_start, p.granularity, p.timezone);
                        v_head[k] := tstzrange(v_new_start, v_row.window_end_time);
                        v_new_day := v_row.target_day;
                        v_new_start := v_row.window_end_time;
                    else
                        v_head[k] := v_none;
                    end if;
                end loop;
                v_next[k] := v_head[k];
                loop
                    v_place := array_position(v_ready_kind, k);
                    exit when v_ready[v_place] < v_head[k] is not true;
                    if not record_ledger.is_lost(
                            upper(v_ready[v_place]), p.source_retention, v_now
                        )
                    then
                        v_next[k] := v_ready[v_place];
                        exit;
                    end if;
                    v_ready := v_ready[:v_place - 1] || v_ready[v_place + 1:];
                    v_ready_kind := v_ready_kind[:v_place - 1] || v_ready_kind[v_place + 1:];
                end loop;
                v_stable[k] := record_ledger.is_stable(upper(v_next[k]), p.x_time_back, v_now);
            end loop;
            if run_no is not null then
                -- Only now is it known whether the run before leaves anything behind.
                drains_backlog := not v_is_drained and not exists (
                    select
                    from unnest(v_next || v_backoff[v_backoff_over + 1:]) as w (bounds)
                    where record_ledger.is_stable(upper(w.bounds), p.x_time_back, v_ends[run_no])
                );
                v_is_drained := v_is_drained or drains_backlog;
                return next;
                run_no := null;
            end if;
            exit plan when v_run > runs;

            -- ------------------------------------------------ which of them, and can it be passed
            v_turn := record_ledger.next_turn(
                p, lower(v_next[1]), upper(v_next[1]), lower(v_next[2]), upper(v_next[2]),
                v_credit, v_now
            );
            v_kind := 1 + v_turn.is_historical::integer;
            v_obstacle := case
                when not v_stable[v_kind] then 'time'
                when v_run - 1 - v_ends_over + cardinality(v_claims) - v_claims_over
                    >= p.max_active_records then 'capacity'
                when p.depends_on_past and (
                    v_ends_over < v_run - 1
                    or v_next[v_kind] > any (v_claims[v_claims_over + 1:])
                    or v_next[v_kind] > any (v_backoff[v_backoff_over + 1:])
                    or v_next[v_kind] > v_stuck
                ) then 'past'
            end;
            exit when v_obstacle is null;
            v_waited_for := v_obstacle;
            v_now := least(
                v_backoff_ends[v_backoff_over + 1],
                v_claim_ends[v_claims_over + 1],
                v_ends[v_ends_over + 1],
                case when v_obstacle = 'past' then upper(v_stuck) + p.source_retention end,
                case when not v_stable[1] then upper(v_next[1]) + p.x_time_back end,
                case when not v_stable[2] then upper(v_next[2]) + p.x_time_back end
            );
            if v_now is null or v_now = 'infinity' then
                -- Nothing changes any more.
                return query
                select null::integer, null::timestamptz, null::timestamptz, null::date,
                    null::timestamptz, null, null::boolean,
                    case when v_obstacle = 'past' then nullif(lower(v_stuck), 'infinity') end,
                    null::boolean;
                exit plan;
            end if;
        end loop;

        -- ---------------------------------------------------- passed
        run_no := v_run;
        window_start_time := lower(v_next[v_kind]);
        window_end_time := upper(v_next[v_kind]);
        target_day := case when window_start_time >= v_first_new then v_new_day end;
        starts_at := v_now;
        waited_for := v_waited_for;
        is_shared := v_turn.is_shared;
        v_credit := v_turn.historical_credit;
        v_ends := v_ends || (v_now + v_duration);
        if v_next[v_kind] = v_head[v_kind] then
            v_head[v_kind] := null;
        else
            v_place := array_position(v_ready, v_next[v_kind]);
            v_ready := v_ready[:v_place - 1] || v_ready[v_place + 1:];
            v_ready_kind := v_ready_kind[:v_place - 1] || v_ready_kind[v_place + 1:];
        end if;
    end loop;
    foreach v_stream in array v_streams loop
        close v_stream;
    end loop;
end
$$;
comment on function record_ledger.planned_passes(
    record_ledger.pipeline, integer, timestamptz, integer, interval
) is
'Private. Which window each of the next runs of a pipeline is passed, and when, by the rules of a pass.';
