-- record_ledger.start_instant: reads a config's start_at, an ISO 8601 text, as an instant.
-- Without offset it is local time, a bare date its first instant; null when the text is no such time.
-- Read by: config_problems, read_config.
-- Rules: local_instant.
create or replace function record_ledger.start_instant(start_at text, timezone text)
returns timestamptz
language plpgsql
immutable strict
as $$
begin
    -- No other form: PostgreSQL would read 'tomorrow', 'infinity' and '01/02/03',
    -- the last as the session's DateStyle says.
    if start_at
        !~ '^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)?)?$'
    then
        return null;
    end if;
    if start_at ~ '(Z|[T ].*[+-]\d\d(:?\d\d)?)$' then
        return start_at::timestamptz;
    end if;
    return record_ledger.local_instant(start_at::timestamp, start_instant.timezone);
exception
    when datetime_field_overflow or invalid_datetime_format
        or invalid_time_zone_displacement_value then
        return null;
end
$$;
comment on function record_ledger.start_instant(text, text) is
'A config''s start_at as an instant; null when the text is no ISO 8601 time.';
