-- record_ledger.start_instant: reads a config's start_at, an ISO 8601 text, as an instant.
-- Without offset it is local time, a bare date its first instant; null when the text is no such time.
-- Read by: config_problems, read_config, is_same_config, note_start_at, start_problem, pipeline_time.
-- Rules: instant, local_instant.
create or replace function record_ledger.start_instant(start_at text, timezone text)
returns timestamptz
language plpgsql
stable strict
as $$
declare
    v_instant timestamptz := record_ledger.instant(start_at);
begin
    if v_instant is not null then
        return v_instant;
    end if;
    if start_at
        ~ (
            '^[0-9]{4}-[0-9]{2}-[0-9]{2}'
            '([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,6})?)?)?$'
        )
    then
        return record_ledger.local_instant(start_at::timestamp, start_instant.timezone);
    end if;
    return null;
exception
    when datetime_field_overflow or invalid_datetime_format
        then
        return null;
end
$$;
comment on function record_ledger.start_instant(text, text) is
'A config''s start_at as an instant; null when the text is no ISO 8601 time.';
