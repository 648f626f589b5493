-- record_ledger.time_interval: a window's actual length as text: '2h', '1h30m', '25h'.
-- Hours are the largest unit, because a local day has 23, 24 or 25 of them.
-- Read by: record_json, new_windows, windows_to_build, pipeline_records, oldest_valid_record,
-- archived_records.
-- Rules: none.
create or replace function record_ledger.time_interval(
    window_start_time timestamptz, window_end_time timestamptz
)
returns text
language plpgsql
immutable strict
as $$
declare
    v_seconds numeric := extract(epoch from window_end_time - window_start_time);
begin
    return concat(
        nullif(div(v_seconds, 3600), 0) || 'h',
        nullif(div(mod(v_seconds, 3600), 60), 0) || 'm',
        nullif(trim_scale(mod(v_seconds, 60)), 0) || 's'
    );
end
$$;
comment on function record_ledger.time_interval(timestamptz, timestamptz) is
'A window''s actual length, hours the largest unit: 2h, 1h30m, 25h.';
