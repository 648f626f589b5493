-- record_ledger.first_look: what a pass looks at before anything else; no row where nothing was passed yet.
-- The newest claim with the marks that hold from now on, the record that the run is bound to, and, where the claim's
-- record stood alone and is finished, the one that comes next.
-- A row for each claim; a caller takes the one with the greatest newest_token. Without an order of its own PostgreSQL
-- takes the function into the statement around it, and looks up only what that claim names.
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
    -- The end of the newest claim's record, if that stood alone and is finished, and the end of the next one, if it
    -- waits: it starts where that one ends. Nothing else is in progress then, and nothing pending but what waits
    -- behind; failed ones may be before it.
    line timestamptz[]
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
        -- Most that stood not alone are told by that, and cost no look-up.
        case when c.active_mark = c.window_start_time then array(
            select case
                    when n.lane = 'waiting' and n.previous_window_start_time = c.window_start_time
                        or n.lane is null and n.is_alone
                        and n.claim_token = c.claim_token
                        and n.claim_token > coalesce(first_look.marks_void_at, 0)
                        then n.window_end_time
                end
            from record_ledger.record as n
            where n.pipeline_id = first_look.pipeline_id
                and n.window_start_time >= c.window_start_time
                -- An index is read a page at a time, and thousands may wait behind the next one.
                and n.window_start_time <= c.window_start_time + first_look.granularity * 2
            order by n.window_start_time
        ) end
    from record_ledger.claim as c
    where c.pipeline_id = first_look.pipeline_id
$$;
comment on function record_ledger.first_look(text, bigint, interval, text) is
'Private. What a pass looks at before anything else: the newest claim with its marks, and what comes next if its record stood alone.';
