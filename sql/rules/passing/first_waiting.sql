-- record_ledger.first_waiting: the bounds of the first record in a pipeline's lane 'waiting'.
-- Null when there is none.
-- Called by: next_answer, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_usual_call_sessions.py.
create or replace function record_ledger.first_waiting(
    pipeline_id text,
    -- No record of the lane starts before it; null when that is not known.
    waiting_mark timestamptz
)
returns timestamptz[]
language sql
stable
as $$
    select array[w.window_start_time, w.window_end_time]
    from record_ledger.record as w
    where w.open_pipeline_id = first_waiting.pipeline_id and w.lane = 'waiting'
        and w.window_start_time >= coalesce(first_waiting.waiting_mark, '-infinity')
    order by w.window_start_time
    limit 1
$$;
comment on function record_ledger.first_waiting(text, timestamptz) is
'Private. The bounds of the first record of a pipeline''s lane waiting; null when there is none.';
