-- record_ledger.wall_time: the local time that an ISO 8601 text without an offset states.
-- A bare date is its midnight, even where clocks skip it. Null when the text has an offset, is not such a time, or is
-- not of the years 1900 to 9000.
-- Called by: start_instant, twofold_time, window_time.
-- Uses: none.
-- Tests: test_zones.py.
create or replace function record_ledger.wall_time(time_text text)
returns timestamp
language plpgsql
stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    if time_text
        ~ (
            '^((19|[2-8][0-9])[0-9]{2}|9000)-[0-9]{2}-[0-9]{2}'
            '([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?)?$'
        )
    then
        return time_text::timestamp;
    end if;
    return null;
exception
    when datetime_field_overflow or invalid_datetime_format
        then
        return null;
end
$$;
comment on function record_ledger.wall_time(text) is
'The local time that an ISO 8601 text without an offset states; null when it is not one.';
