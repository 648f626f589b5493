-- record_ledger.time_interval: a window's actual length as text: '2h', '1h30m', '25h'.
-- Hours are the largest unit, because a local day has 23, 24 or 25 of them.
-- Read by: record_json, new_windows, pipeline_records, oldest_valid_record.
-- Rules: none.
create or replace function record_ledger.time_interval(window_start_time timestamptz, window_end_time timestamptz)
returns text
language sql
immutable strict
as $$
    select concat(
        nullif(extract(epoch from d.length)::bigint / 3600, 0) || 'h',
        nullif(extract(minute from d.length)::integer, 0) || 'm',
        nullif(trim_scale(extract(second from d.length)), 0) || 's'
    )
    from (
        select make_interval(secs => extract(epoch from window_end_time - window_start_time)::double precision) as length
    ) as d
$$;
comment on function record_ledger.time_interval(timestamptz, timestamptz) is
'A window''s actual length, hours the largest unit: 2h, 1h30m, 25h.';
