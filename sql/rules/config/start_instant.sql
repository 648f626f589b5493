-- record_ledger.start_instant: reads a config's start_at, an ISO 8601 text, as an instant.
-- A time without an offset is local time, a bare date is its first instant, and a time that clocks skip is the end of
-- the gap. A time that clocks show twice is the first of both; callers that take times from people refuse it
-- (twofold_time). Null when the text is not such a time.
-- Called by: config_problems, is_same_config, note_start_at, pipeline_time, read_config, start_problem.
-- Uses: instant, local_instant, wall_time.
-- Tests: test_config_rules.py.
create or replace function record_ledger.start_instant(start_at text, timezone text)
returns timestamptz
language plpgsql
stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce(
        record_ledger.instant(start_at),
        record_ledger.local_instant(
            record_ledger.wall_time(start_at), start_instant.timezone
        )
    );
end
$$;
comment on function record_ledger.start_instant(text, text) is
'A config''s start_at as an instant; null when the text is not an ISO 8601 time.';
