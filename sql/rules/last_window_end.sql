-- record_ledger.last_window_end: the end of the newest stored window of a pipeline; null when none is stored.
-- There the next one starts: no gap, no overlap.
-- Read by: next_window_start, store_windows.
-- Rules: none.
create or replace function record_ledger.last_window_end(pipeline_id text)
returns timestamptz
language plpgsql
stable
as $$
begin
    return (
        select r.window_end_time
        from record_ledger.record as r
        where r.pipeline_id = last_window_end.pipeline_id
        order by r.window_start_time desc
        limit 1
    );
end
$$;
comment on function record_ledger.last_window_end(text) is
'The end of the newest stored window of a pipeline; null when none is stored.';
