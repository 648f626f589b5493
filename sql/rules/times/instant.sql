-- record_ledger.instant: reads an ISO 8601 time with an offset; null when the text is not one.
-- Years are 1900 to 9000: windows are built on these times, and drivers read no time of a year after 9999. It reads no
-- other form: PostgreSQL would read 'tomorrow' and 'infinity' too, and '01/02/03' as the session's DateStyle says.
-- Called by: built_problem, start_instant.
-- Uses: none.
-- Tests: test_poison.py, test_building.py.
create or replace function record_ledger.instant(instant_text text)
returns timestamptz
language plpgsql
stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    if instant_text
        ~ (
            '^((19|[2-8][0-9])[0-9]{2}|9000)-[0-9]{2}-[0-9]{2}'
            '[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?'
            '(Z|[+-][0-9]{2}(:?[0-9]{2}){0,2})$'
        )
    then
        return instant_text::timestamptz;
    end if;
    return null;
exception
    when datetime_field_overflow or invalid_datetime_format
        or invalid_time_zone_displacement_value then
        return null;
end
$$;
comment on function record_ledger.instant(text) is
'An ISO 8601 time with an offset as an instant; null when the text is not one.';
