-- record_ledger.next_window_start: where the first window that is not stored yet starts.
-- At the end of the last stored window; before there is one, at the first window's start.
-- Read by: new_windows, windows_to_build, register_store_and_pass, next_answer,
-- planned_passes.
-- Rules: last_window, first_window_start.
create or replace function record_ledger.next_window_start(
    p record_ledger.pipeline, as_of timestamptz
)
returns timestamptz
language sql
stable
as $$
    select coalesce(
        (select l.window_end_time from record_ledger.last_window(p.pipeline_id) as l),
        record_ledger.first_window_start(p, as_of)
    )
$$;
comment on function record_ledger.next_window_start(record_ledger.pipeline, timestamptz) is
'Where the first window of a pipeline that is not stored yet starts.';
