-- record_ledger.next_window_start: where the first window that is not stored yet starts.
-- It is the end of the newest stored window; without one, the start of the first window.
-- Called by: new_windows, next_answer, open_windows, planned_passes, windows_to_build.
-- Uses: first_window_start, last_window.
-- Tests: test_windows_stored.py.
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
