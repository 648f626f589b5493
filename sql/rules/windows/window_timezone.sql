-- record_ledger.window_timezone: the time zone that a stored window of a pipeline was cut with.
-- Mostly the one in force, which the pipeline's row says; PostgreSQL takes this expression into the one around it. A
-- window that is not stored yet is cut with p.timezone.
-- Read by: whatever shows a window to people: pass_record, windows_to_build, record_verdict, next_answer, plan_runs,
-- the views that have a column window_timezone.
-- Rules: stretch_timezone. Types are exact and names qualified (README.md, Names).
create or replace function record_ledger.window_timezone(
    p record_ledger.pipeline, window_start_time timestamptz
)
returns text
language sql
stable
as $$
    select case
        when window_start_time >= (p).zone_since then (p).timezone
        else record_ledger.stretch_timezone((p).pipeline_id, window_start_time)
    end
$$;
comment on function record_ledger.window_timezone(record_ledger.pipeline, timestamptz) is
'The time zone that a stored window of a pipeline was cut with.';
