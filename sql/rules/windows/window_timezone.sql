-- record_ledger.window_timezone: the time zone that a stored window of a pipeline was cut with.
-- Usually it is the zone in force, which the pipeline's row has. PostgreSQL merges this expression into the one around
-- it. A window that is not stored yet is cut with p.timezone. Types are exact and names qualified (docs/design.md,
-- Names).
-- Called by: changed_records, next_answer, oldest_pending_record, oldest_valid_record, pass_record, plan_runs,
--   record_verdict, record_verdicts, records_at_risk, waive_counts, windows_to_build.
-- Uses: stretch_timezone.
-- Tests: test_zones.py.
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
