-- record_ledger.time_interval: a window's actual length as text: '2h', '1h30m', '25h'.
-- Hours are the largest unit, because a local day has 23, 24 or 25 of them. Types are exact and names qualified
-- (docs/design.md, Names).
-- Called by: archived_records, check_backfill, new_windows, oldest_valid_record, pipeline_records, plan_runs,
--   record_object, suggest_x_time_back, windows_to_build.
-- Uses: none.
-- Tests: test_windows.py.
create or replace function record_ledger.time_interval(
    window_start_time timestamptz, window_end_time timestamptz
)
returns text
language plpgsql
immutable strict
as $$
declare
    -- Computed as integers: many times cheaper than the parts of an interval, which are numeric.
    v_length constant double precision := pg_catalog.date_part(
        'epoch'::text, window_end_time - window_start_time
    );
    v_seconds constant bigint := pg_catalog.trunc(v_length)::bigint;
begin
    if v_seconds % 3600::bigint = 0::bigint and v_seconds::double precision = v_length then
        return (v_seconds / 3600::bigint)::text || 'h';
    elsif v_seconds::double precision = v_length then
        return pg_catalog.concat(
            nullif(v_seconds / 3600::bigint, 0::bigint)::text || 'h',
            nullif(v_seconds % 3600::bigint / 60::bigint, 0::bigint)::text || 'm',
            nullif(v_seconds % 60::bigint, 0::bigint)::text || 's'
        );
    end if;
    return pg_catalog.concat(
        nullif(v_seconds / 3600::bigint, 0::bigint)::text || 'h',
        nullif(v_seconds % 3600::bigint / 60::bigint, 0::bigint)::text || 'm',
        nullif(
            trim_scale(extract(second from window_end_time - window_start_time)), 0::numeric
        )::text || 's'
    );
end
$$;
comment on function record_ledger.time_interval(timestamptz, timestamptz) is
'A window''s actual length, hours the largest unit: 2h, 1h30m, 25h.';
