-- record_ledger.first_window_start: where the first window of a pipeline without records starts.
-- It starts at start_at, or else at the first instant of the local day of (as_of - x_time_back).
-- Called by: next_window_start, pipeline_progress, register_store_and_pass, store_windows.
-- Uses: day_start, local_day.
-- Tests: test_windows_stored.py.
create or replace function record_ledger.first_window_start(
    p record_ledger.pipeline, as_of timestamptz
)
returns timestamptz
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce(
        p.start_at,
        record_ledger.day_start(
            record_ledger.local_day(as_of - p.x_time_back, p.timezone), p.timezone
        )
    );
end
$$;
comment on function record_ledger.first_window_start(record_ledger.pipeline, timestamptz) is
'Where the first window of a pipeline without records starts.';
