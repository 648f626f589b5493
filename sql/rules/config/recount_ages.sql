-- record_ledger.recount_ages: a config's recount_ages as elapsed time, each once, ascending; without any the default.
-- Null when one of them is not a duration.
-- Called by: is_same_config, read_config.
-- Uses: duration.
-- Tests: test_retention.py, test_same_config.py.
create or replace function record_ledger.recount_ages(ages jsonb)
returns interval[]
language plpgsql
immutable
as $$
declare
    v_ages interval[];
begin
    if ages is null then
        return '{01:00:00,24:00:00,168:00:00}';
    end if;
    if jsonb_typeof(ages) <> 'array' then
        return null;
    end if;
    select coalesce(array_agg(distinct d.age order by d.age), '{}') into v_ages
    from jsonb_array_elements_text(ages) as a (age_text)
    cross join lateral record_ledger.duration(a.age_text) as d (age);
    return case when array_position(v_ages, null) is null then v_ages end;
end
$$;
comment on function record_ledger.recount_ages(jsonb) is
'Private. A config''s recount_ages as elapsed time, each once, ascending; null when one is not a duration.';
