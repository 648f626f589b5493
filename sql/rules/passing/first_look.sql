-- record_ledger.first_look: what a pass looks at before anything else; no row where nothing was passed yet.
-- The newest claim with the marks that hold from now on, the record that the run is bound to, the first record that
-- waits in order, and the first of the other lanes. Where there is none of these, that record comes next.
-- A table of one row, which PostgreSQL takes into the statement around it.
-- Called by: next_answer, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_usual_call.py, test_usual_call_sessions.py.
create or replace function record_ledger.first_look(
    pipeline_id text,
    -- Marks of claims up to this token say nothing any more.
    marks_void_at bigint,
    granularity interval,
    run_id text
)
returns table (
    newest_token bigint,
    historical_credit numeric,
    -- No record of each lane starts before its mark; null when it is not known.
    waiting_mark timestamptz,
    active_mark timestamptz,
    historical_mark timestamptz,
    returned_mark timestamptz,
    retry_mark timestamptz,
    -- No lease ends before it; null when it is not known.
    lease_mark timestamptz,
    others_seen_at timestamptz,
    bound_window timestamptz,
    -- The bounds of the first record in the lane 'waiting', if it starts within two granularities of the mark. An index
    -- is read a page at a time, and thousands may wait behind it.
    waiting timestamptz[],
    -- False, and not looked up, for a day after another lane held a record: old snapshots may keep its entries. It is
    -- a day of the server's, as snapshots know no other time.
    is_looked_up boolean,
    -- The first lane before 'waiting' that holds a record; null when none does.
    first_lane text
)
language sql
stable
as $$
    select
        c.claim_token,
        c.historical_credit,
        c.waiting_mark,
        c.active_mark,
        -- Runs bring records to these lanes, too: none that started before the first one that was in progress.
        case
            when c.historical_mark is not null
                and c.claim_token > coalesce(first_look.marks_void_at, 0)
                then least(c.historical_mark, c.active_mark)
        end,
        case
            when c.returned_mark is not null
                and c.claim_token > coalesce(first_look.marks_void_at, 0)
                then least(c.returned_mark, c.active_mark)
        end,
        case
            when c.retry_mark is not null
                and c.claim_token > coalesce(first_look.marks_void_at, 0)
                then least(c.retry_mark, c.active_mark)
        end,
        case when c.claim_token > coalesce(first_look.marks_void_at, 0) then c.lease_mark end,
        c.others_seen_at,
        (
            select b.window_start_time
            from record_ledger.claim as b
            where b.pipeline_id = first_look.pipeline_id and b.bound_run_id = first_look.run_id
        ),
        (
            select array[w.window_start_time, w.window_end_time]
            from record_ledger.record as w
            where w.open_pipeline_id = first_look.pipeline_id and w.lane = 'waiting'
                and w.window_start_time >= c.waiting_mark
                and w.window_start_time <= c.waiting_mark + first_look.granularity * 2
            order by w.window_start_time
            limit 1
        ),
        c.others_seen_at > now() - interval '24:00:00' is not true,
        case when c.others_seen_at > now() - interval '24:00:00' is not true then (
            select o.lane
            from record_ledger.record as o
            where o.open_pipeline_id = first_look.pipeline_id and o.lane < 'waiting'
                and (o.lane, o.window_start_time) >= ('active', c.active_mark)
            order by o.lane, o.window_start_time
            limit 1
        ) end
    from record_ledger.claim as c
    where c.pipeline_id = first_look.pipeline_id
    order by c.claim_token desc
    limit 1
$$;
comment on function record_ledger.first_look(text, bigint, interval, text) is
'Private. What a pass looks at before anything else: the newest claim, the first waiting record, and whether others are open.';
