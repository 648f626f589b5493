-- record_ledger.recount_problems: what is wrong with a config's recount_ages and reopen_budget.
-- One sentence each, naming the key, the value and what would be valid.
-- Called by: config_problems.
-- Uses: duration.
-- Tests: test_recounts.py.
create or replace function record_ledger.recount_problems(config jsonb)
returns text[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problems text[] := '{}';
    v_ages jsonb := config -> 'recount_ages';
    v_budget jsonb := config -> 'reopen_budget';
    v_age jsonb;
begin
    if v_ages is not null and jsonb_typeof(v_ages) <> 'array' then
        v_problems := v_problems || format(
            'recount_ages: %s is not a list; give durations such as ["1h", "1d", "7d"]',
            left(v_ages::text, 80)
        );
    elsif jsonb_array_length(v_ages) > 100 then
        v_problems := v_problems || format(
            'recount_ages: %s ages are too many; give at most 100', jsonb_array_length(v_ages)
        );
    elsif v_ages is not null then
        for v_age in select e.element from jsonb_array_elements(v_ages) as e (element) loop
            if jsonb_typeof(v_age) <> 'string'
                or record_ledger.duration(v_age #>> '{}')
                    between interval '1 second' and interval '876000 hours' is not true
            then
                v_problems := v_problems || format(
                    'recount_ages: %s is not a duration from "1s" to "36500d"; give units, '
                    'such as "1h" or "1d12h"',
                    left(v_age::text, 80)
                );
            end if;
        end loop;
    end if;
    if v_budget is not null
        and (jsonb_typeof(v_budget) <> 'number' or v_budget::text !~ '^[0-9]{1,9}([.]0+)?$')
    then
        v_problems := v_problems || format(
            'reopen_budget: %s is not a whole number from 0 to 999999999', left(v_budget::text, 80)
        );
    end if;
    return v_problems;
end
$$;
comment on function record_ledger.recount_problems(jsonb) is
'Private. What is wrong with a config''s recount_ages and reopen_budget, one sentence each.';
