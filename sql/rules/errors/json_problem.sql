-- record_ledger.json_problem: why a JSON value is not one that every reader of the ledger can read; null when it is.
-- It allows numbers of 300 digits and 400 decimals (a double has fewer), 100 levels, and max_bytes. Drivers refuse
-- longer or deeper values, and one unreadable row would break the overview of all pipelines. max_bytes keeps one call
-- from storing gigabytes.
-- Called by: built_problem, check_detail, config_problems.
-- Uses: none.
-- Tests: test_bounds.py, test_poison.py.
create or replace function record_ledger.json_problem(value jsonb, max_bytes integer)
returns text
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_bytes constant integer := octet_length(value::text);
    v_digits integer;
    v_decimals integer;
begin
    -- The usual case: so short a text has neither too long a number nor too many brackets.
    if v_bytes <= 200 then
        return null;
    end if;
    if v_bytes > max_bytes then
        return format('is %s bytes of JSON; give %s at most', v_bytes, max_bytes);
    end if;
    if jsonb_path_exists(value, 'strict $.**{101}') then
        return 'is nested more than 100 levels deep';
    end if;
    select
        max(length(substring(n.number::text from '^-?([0-9]+)'))),
        max(length(substring(n.number::text from '[.]([0-9]+)$')))
    into v_digits, v_decimals
    from jsonb_path_query(value, 'strict $.** ? (@.type() == "number")') as n (number);
    if v_digits > 300 then
        return format('holds a number of %s digits; give 300 at most', v_digits);
    end if;
    if v_decimals > 400 then
        return format('holds a number with %s decimals; give 400 at most', v_decimals);
    end if;
    return null;
end
$$;
comment on function record_ledger.json_problem(jsonb, integer) is
'Why a JSON value cannot be stored: too many bytes, levels or digits; null when it can.';
