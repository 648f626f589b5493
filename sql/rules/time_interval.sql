-- record_ledger.time_interval: a window's actual length as text: '2h', '1h30m', '25h'.
-- Hours are the largest unit, because a local day has 23, 24 or 25 of them.
-- Read by: record_json, new_windows, windows_to_build, pipeline_records, oldest_valid_record,
-- archived_records, plan_runs.
-- Rules: none. Types are exact and names qualified (README.md, Names).
create or replace function record_ledger.time_interval(
    window_start_time timestamptz, window_end_time timestamptz
)
returns text
language plpgsql
immutable strict
as $$
declare
    v_length constant interval := window_end_time - window_start_time;
    v_hours constant integer :=
        extract(day from v_length) * 24::numeric
        + extract(hour from v_length);
begin
    if v_length = make_interval(hours => v_hours) then
        return v_hours::text || 'h';
    end if;
    return pg_catalog.concat(
        nullif(v_hours, 0)::text || 'h',
        nullif(extract(minute from v_length), 0::numeric)::text || 'm',
        nullif(trim_scale(extract(second from v_length)), 0::numeric)::text || 's'
    );
end
$$;
comment on function record_ledger.time_interval(timestamptz, timestamptz) is
'A window''s actual length, hours the largest unit: 2h, 1h30m, 25h.';
