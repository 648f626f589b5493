-- Parts of a call of the ledger without the rest of it: no call that does as much can be faster than they are.
-- The same parameters, settings and answer as store_new_and_pass_valid_record; the ledger's own tables, its triggers off,
-- so that nothing is decided, checked or rendered here.
alter table record_ledger.record disable trigger user;
create sequence bench.baseline_window;
-- The chain of windows begins with one that is there.
insert into record_ledger.record (
    pipeline_id, window_start_time, window_end_time, target_day, lane, open_pipeline_id, created_at, updated_at
)
select 'baseline', start, start + interval '3 seconds', '2020-01-01', 'waiting', 'baseline', start, start
from (values (timestamptz '2020-01-01 00:00:00+00')) as first_window (start);

create function bench.empty(
    config jsonb, run_id text, built jsonb default '[]',
    out exit_dag boolean, out verdict text, out reason text, out record jsonb, out to_build jsonb
)
language plpgsql
as $$ begin exit_dag := true; end $$;

-- What every call looks up: the pipeline, its last window, its newest claim and the run's own, what is open.
create function bench.look_ups(
    config jsonb, run_id text, built jsonb default '[]',
    out exit_dag boolean, out verdict text, out reason text, out record jsonb, out to_build jsonb
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
    p record;
    v_last record;
    v_claim record;
    v_rare record;
    v_waiting record;
begin
    select q.pipeline_id, q.x_time_back, q.timezone into p
    from record_ledger.pipeline as q
    where q.pipeline_id = look_ups.config #>> '{default_record,pipeline_id}';
    select r.window_start_time, r.window_end_time into v_last
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id
    order by r.window_start_time desc
    limit 1;
    select
        c.waiting_mark,
        c.active_mark,
        (
            select b.window_start_time
            from record_ledger.claim as b
            where b.pipeline_id = p.pipeline_id and b.bound_run_id = look_ups.run_id
        ) as bound_window
    into v_claim
    from record_ledger.claim as c
    where c.pipeline_id = p.pipeline_id
    order by c.claim_token desc
    limit 1;
    select r.lane, r.window_start_time into v_rare
    from record_ledger.record as r
    where r.open_pipeline_id = p.pipeline_id and r.lane < 'waiting'
        and (r.lane, r.window_start_time)
            >= ('active', coalesce(v_claim.active_mark, '-infinity'))
    order by r.lane, r.window_start_time
    limit 1;
    select r.window_start_time, r.window_end_time into v_waiting
    from record_ledger.record as r
    where r.open_pipeline_id = p.pipeline_id and r.lane = 'waiting'
        and r.window_start_time >= coalesce(v_claim.waiting_mark, '-infinity')
    order by r.window_start_time
    limit 1;
    exit_dag := true;
    verdict := 'NO_RECORDS';
    reason := 'nothing was decided';
    to_build := '[]';
end
$$;

-- What a call writes that stores one window and passes one: the pipeline's lock, the window, the claim, the event.
create function bench.rows(
    config jsonb, run_id text, built jsonb default '[]',
    out exit_dag boolean, out verdict text, out reason text, out record jsonb, out to_build jsonb
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := clock_timestamp();
    v_start constant timestamptz := (
        timestamptz '2020-01-01 00:00:00+00' + nextval('bench.baseline_window') * interval '3 seconds'
    );
    -- Each call has a start of its own, and so a token of its own; those before 2025 would not.
    v_token constant bigint := record_ledger.next_claim_token(null, v_start + interval '10 years');
    v_pipeline_id text;
begin
    select q.pipeline_id into v_pipeline_id
    from record_ledger.pipeline as q
    where q.pipeline_id = rows.config #>> '{default_record,pipeline_id}'
    for no key update;
    insert into record_ledger.record (
        pipeline_id,
        window_start_time,
        window_end_time,
        previous_window_start_time,
        target_day,
        fields,
        config_version,
        lane,
        open_pipeline_id,
        created_at,
        updated_at
    )
    values (
        'baseline',
        v_start,
        v_start + interval '3 seconds',
        v_start - interval '3 seconds',
        '2020-01-01',
        config -> 'default_record',
        1,
        'waiting',
        'baseline',
        v_now,
        v_now
    );
    insert into record_ledger.claim (
        pipeline_id, claim_token, window_start_time, bound_run_id, waiting_mark, active_mark
    )
    values ('baseline', v_token, v_start, rows.run_id, v_start, v_start);
    update record_ledger.record as r
    set status = 'IN_PROGRESS',
        attempt = 1,
        claim_token = v_token,
        run_id = rows.run_id,
        lease_expires_at = v_now + interval '1 hour',
        event_count = 1,
        last_event = 'passed',
        lane = 'active',
        updated_at = v_now
    where r.pipeline_id = 'baseline' and r.window_start_time = v_start;
    insert into record_ledger.record_event (
        pipeline_id,
        window_start_time,
        event_no,
        event_time,
        event,
        from_status,
        to_status,
        generation,
        attempt,
        claim_token,
        run_id,
        detail
    )
    values (
        'baseline', v_start, 1, v_now, 'passed', 'PENDING', 'IN_PROGRESS', 1, 1, v_token, rows.run_id, '{}'
    );
    exit_dag := false;
    verdict := 'READY';
    reason := 'nothing was decided';
    record := config -> 'default_record';
    to_build := '[]';
end
$$;
