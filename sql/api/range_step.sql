-- record_ledger.range_step: the first step of an operation on a range, short enough for runs to get their turn.
-- operation: waive, reopen, expire, cancel or backfill. It changes at most max_records, the oldest of the range first.
-- A backfill ignores to_time and adds at most max_records, and at most 10,000, the newest first. The next call takes:
--   go_on_from         from_time of the next step; null when this was the last one
--   next_max_records   how many that one can change in 40 ms under the pipeline's lock, by what this one took
-- A step reads at most 10,000 records, so it may change none and not be the last. Each call is a transaction of its
-- own. What earlier steps did stays, and a repeated step changes only what is left.
-- Called by: record_ledger_runner, the Python runner, dbt, range_in_steps.
-- Uses: backfill_range, change_range, check_backfill, check_range, check_reason, clock, day_start, is_in_range,
--   is_lost, local_day, lock_pipeline, status_after.
-- Tests: test_range_steps.py.
create or replace function record_ledger.range_step(
    operation text,
    pipeline_id text,
    from_time timestamptz,
    to_time timestamptz,
    reason text,
    max_records integer default 1000,
    out changed_count integer,
    out go_on_from timestamptz,
    out next_max_records integer
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    p record_ledger.pipeline;
    v_is_backfill boolean := range_step.operation = 'backfill';
    v_now timestamptz;
    v_locked_at timestamptz;
    v_walk_end timestamptz;
    v_end timestamptz;
    v_first_start timestamptz;
    v_milliseconds numeric;
begin
    if coalesce(
        range_step.operation not in ('waive', 'reopen', 'expire', 'cancel', 'backfill'), true
    ) then
        raise exception 'operation: % is not one of waive, reopen, expire, cancel and backfill',
            coalesce('"' || left(range_step.operation, 80) || '"', 'null')
            using errcode = 'RL005', hint = 'Give the verb of the routine or command.';
    end if;
    if coalesce(range_step.max_records < 1, true) then
        raise exception 'max_records: % is not a number of records',
            coalesce(range_step.max_records::text, 'null')
            using errcode = 'RL005', hint = 'Give 1 or greater, or leave it out.';
    end if;
    perform record_ledger.check_reason(range_step.reason, v_is_backfill);
    if not v_is_backfill then
        perform record_ledger.check_range(range_step.from_time, range_step.to_time);
        -- Before the lock: a stored window never moves.
        select r.window_start_time into v_walk_end
        from record_ledger.record as r
        where r.pipeline_id = range_step.pipeline_id
            and r.window_start_time >= range_step.from_time
            and r.window_start_time < range_step.to_time
        order by r.window_start_time
        offset 10000
        limit 1;
    end if;

    -- A pass could otherwise hand out the very record that is being changed.
    p := record_ledger.lock_pipeline(range_step.pipeline_id);
    -- Not clock(): this measures how long other sessions wait, and not the ledger's time.
    v_locked_at := clock_timestamp();
    v_now := record_ledger.clock();
    if v_is_backfill then
        v_first_start := record_ledger.check_backfill(p, range_step.from_time);
        changed_count := 0;
        if v_first_start > range_step.from_time then
            select b.added_count, b.first_start into changed_count, v_first_start
            from record_ledger.backfill_range(
                p,
                range_step.from_time,
                range_step.reason,
                range_step.max_records,
                v_now,
                v_first_start
            ) as b;
            go_on_from := record_ledger.day_start(
                record_ledger.local_day(range_step.from_time, p.timezone), p.timezone
            );
            if v_first_start <= go_on_from then
                go_on_from := null;
            end if;
        end if;
    else
        -- The step ends before the first record that is one too many.
        select r.window_start_time into v_end
        from record_ledger.record as r
        where r.pipeline_id = p.pipeline_id
            and record_ledger.is_in_range(
                r.window_start_time,
                r.window_end_time,
                range_step.from_time,
                least(v_walk_end, range_step.to_time)
            )
            and record_ledger.status_after(
                range_step.operation,
                r.status,
                r.attempt < p.max_attempts,
                r.cancellation is not null,
                record_ledger.is_lost(r.window_end_time, p.source_retention, v_now)
            ) is not null
        order by r.window_start_time
        offset range_step.max_records
        limit 1;
        go_on_from := coalesce(v_end, v_walk_end);
        changed_count := record_ledger.change_range(
            range_step.operation,
            p,
            range_step.from_time,
            coalesce(go_on_from, range_step.to_time),
            range_step.reason,
            v_now
        );
    end if;

    next_max_records := range_step.max_records;
    -- A step that changed few says nothing about how long many take.
    if changed_count >= range_step.max_records / 4 then
        v_milliseconds := greatest(1, extract(epoch from clock_timestamp() - v_locked_at) * 1000);
        next_max_records := least(
            greatest(100, changed_count * 40 / v_milliseconds),
            -- At most twice as many: the next records may cost more.
            range_step.max_records * 2::bigint,
            10000
        );
    end if;
end
$$;
comment on function record_ledger.range_step(
    text, text, timestamptz, timestamptz, text, integer
) is
'The first step of waive, reopen, expire, cancel or backfill on a range: how many records it changed, where the next step begins, and how many it may change.';
