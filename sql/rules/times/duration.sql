-- record_ledger.duration: reads a config's duration ('1d', '1d2h30m20s', 'PT26H') as elapsed time.
-- Null when the text is not a duration, as bare numbers, months, years and infinity are not. 1d is 24 h on every day.
-- Units may have any case except M and MS, which others read as months: minutes are m, milliseconds ms. Units are
-- required. A sign is read; the caller judges it.
-- Called by: the Python runner, dbt, config_problems, is_same_config, read_config, recount_ages, recount_problems,
--   retention_problems, start_problem.
-- Uses: none.
-- Tests: test_config_rules.py.
create or replace function record_ledger.duration(duration_text text)
returns interval
language plpgsql
immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    v_units constant text :=
        'weeks?|w|days?|d|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s|'
        'milliseconds?|ms|microseconds?|us';
begin
    -- Sentences quote it as it is written, blanks included.
    if octet_length(duration_text) > 255 or duration_text !~* (
            '^[[:space:]]*-?([0-9]+([.][0-9]+)?[[:space:]]*(' || v_units || ')[[:space:]]*)+$'
        )
        and duration_text !~ (
            '^P(?=[0-9]|T[0-9])([0-9]+W)?([0-9]+D)?'
            '(T(?=[0-9])([0-9]+H)?([0-9]+M)?([0-9]+([.][0-9]+)?S)?)?$'
        )
        or duration_text ~ '^[^P]*M[sS]?([^[:alpha:]]|$)'
    then
        return null;
    end if;
    -- As seconds only: an interval with a day part added to an instant would follow the session's time zone.
    -- A sign counts for the whole; PostgreSQL would give it to the first part, or to all, as IntervalStyle says.
    return pg_catalog.make_interval(
        secs => extract(epoch from ltrim(duration_text, '- ')::interval)::double precision
            * case when ltrim(duration_text) like '-%' then -1 else 1 end
    );
exception
    when invalid_datetime_format or interval_field_overflow or datetime_field_overflow
        or numeric_value_out_of_range then
        return null;
end
$$;
comment on function record_ledger.duration(text) is
'A duration with units as elapsed time (1d = 24 h); null when the text is not a duration.';
