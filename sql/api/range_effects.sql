-- record_ledger.range_effects: what an operation on a range would change, and what it would leave alone and why.
-- One row per effect, status and reason; reads only. operation: waive, reopen, expire, cancel or backfill.
-- A backfill adds windows back to from_time; it ignores to_time. It leaves alone the records that the range holds
-- already (with to_time null, all later ones). Archived records are left alone too: nothing changes them any more.
-- Called by: record_ledger_reader, the Python runner.
-- Uses: backfill_windows, check_backfill, check_range, clock, is_in_range, is_lost, raise_unknown_pipeline,
--   status_after.
-- Tests: test_range_effects.py.
create or replace function record_ledger.range_effects(
    operation text, pipeline_id text, from_time timestamptz, to_time timestamptz default null
)
returns table (
    effect text,
    status text,
    reason text,
    record_count bigint,
    first_window_start_time timestamptz,
    last_window_end_time timestamptz
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    p record_ledger.pipeline;
    v_now constant timestamptz := record_ledger.clock();
    v_first_start timestamptz;
    v_is_backfill boolean := range_effects.operation = 'backfill';
    v_to_time timestamptz := coalesce(
        range_effects.to_time, case when v_is_backfill then timestamptz 'infinity' end
    );
begin
    if coalesce(
        range_effects.operation not in ('waive', 'reopen', 'expire', 'cancel', 'backfill'), true
    ) then
        raise exception 'operation: % is not one of waive, reopen, expire, cancel and backfill',
            coalesce('"' || left(range_effects.operation, 80) || '"', 'null')
            using errcode = 'RL005', hint = 'Give the verb of the routine or command.';
    end if;
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = range_effects.pipeline_id;
    if not found then
        perform record_ledger.raise_unknown_pipeline(range_effects.pipeline_id);
    end if;
    if v_is_backfill then
        v_first_start := record_ledger.check_backfill(p, range_effects.from_time);
        return query
        select
            'changed',
            'PENDING',
            case
                when w.is_lost
                    then 'is added, and its source data is gone: the next pass waives it as lost'
                else 'is added before the first window'
            end,
            count(*),
            min(w.window_start_time),
            max(w.window_end_time)
        from (
            select
                b.window_start_time,
                b.window_end_time,
                record_ledger.is_lost(b.window_end_time, p.source_retention, v_now) as is_lost
            from record_ledger.backfill_windows(p, range_effects.from_time, v_first_start) as b
        ) as w
        group by w.is_lost
        order by w.is_lost desc;
    end if;
    perform record_ledger.check_range(range_effects.from_time, v_to_time);

    return query
    select
        case when g.status_after is null then 'left alone' else 'changed' end,
        g.status,
        case
            when g.is_archived then 'is archived'
            when v_is_backfill then 'is stored already'
            when not g.is_whole then 'only a part of its window lies in the range'
            when g.status_after = 'WAIVED' then 'becomes WAIVED'
            when range_effects.operation = 'reopen' and g.status_after is not null
                then 'becomes PENDING, one generation later'
            when g.status_after = 'PENDING' then 'its claim ends; becomes PENDING after a backoff'
            when g.status_after = 'FAILED' and g.is_cancelled
                then 'its claim ends; becomes FAILED: it was cancelled'
            when g.status_after = 'FAILED' then 'its claim ends; becomes FAILED: no attempt is left'
            when g.status_after = 'IN_PROGRESS'
                then 'its claim is cancelled: the record fails when its run stops or its lease ends'
            when g.is_cancelled and range_effects.operation = 'cancel'
                then 'its claim is cancelled already'
            when range_effects.operation in ('expire', 'cancel') then 'no run holds it'
            when g.status = 'IN_PROGRESS' then 'a run holds it'
            when g.is_lost and g.status <> 'PENDING' and range_effects.operation = 'reopen'
                then 'its source data is gone (source_retention)'
            else 'is ' || g.status || ' already'
        end,
        sum(g.record_count)::bigint,
        min(g.first_start),
        max(g.last_end)
    from (
        select
            o.status,
            false as is_archived,
            o.is_whole,
            o.is_cancelled,
            o.is_lost,
            case
                when o.is_whole
                    then record_ledger.status_after(
                        range_effects.operation,
                        o.status,
                        o.has_attempts_left,
                        o.is_cancelled,
                        o.is_lost
                    )
            end as status_after,
            count(*) as record_count,
            min(o.window_start_time) as first_start,
            max(o.window_end_time) as last_end
        from (
            select
                r.status,
                r.window_start_time,
                r.window_end_time,
                r.attempt < p.max_attempts as has_attempts_left,
                r.cancellation is not null as is_cancelled,
                record_ledger.is_lost(r.window_end_time, p.source_retention, v_now) as is_lost,
                record_ledger.is_in_range(
                    r.window_start_time, r.window_end_time, range_effects.from_time, v_to_time
                ) as is_whole
            from record_ledger.record as r
            where r.pipeline_id = p.pipeline_id
                and r.window_end_time > range_effects.from_time
                and r.window_start_time < v_to_time
                -- From the window that contains from_time: the primary key finds windows by their start.
                and r.window_start_time >= coalesce(
                    (
                        select max(f.window_start_time)
                        from record_ledger.record as f
                        where f.pipeline_id = p.pipeline_id
                            and f.window_start_time <= range_effects.from_time
                    ),
                    '-infinity'
                )
        ) as o
        group by 1, 2, 3, 4, 5, 6
        union all
        select
            a.status,
            true as is_archived,
            true as is_whole,
            false as is_cancelled,
            false as is_lost,
            null as status_after,
            count(*) as record_count,
            min(a.window_start_time) as first_start,
            max(a.window_end_time) as last_end
        from record_ledger.archived_record as a
        where a.pipeline_id = p.pipeline_id
            and a.window_end_time > range_effects.from_time
            and a.window_start_time < v_to_time
            and a.window_start_time >= coalesce(
                (
                    select f.window_start_time
                    from record_ledger.archived_record as f
                    where f.pipeline_id = p.pipeline_id
                        and f.window_start_time <= range_effects.from_time
                    order by f.window_start_time desc
                    limit 1
                ),
                '-infinity'
            )
        group by a.status
    ) as g
    group by 1, 2, 3
    order by 1, 5;
end
$$;
comment on function record_ledger.range_effects(text, text, timestamptz, timestamptz) is
'What waive, reopen, expire, cancel or backfill would change in a range, and what it would leave alone and why; reads only.';
