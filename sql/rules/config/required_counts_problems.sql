-- record_ledger.required_counts_problems: everything that is wrong with a config's required_counts, one sentence each.
-- A list of stages, or an object of "stages" and "tolerance". Empty when it is valid, or not given.
-- Called by: config_problems.
-- Uses: count_tolerance, is_stage, near_names.
-- Tests: test_required_counts.py.
create or replace function record_ledger.required_counts_problems(required_counts jsonb)
returns text[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_problems text[] := '{}';
    v_stages jsonb := required_counts -> 'stages';
    v_keys constant text[] := array['stages', 'tolerance'];
    v_key text;
    v_near text[];
    v_stage jsonb;
    v_seen jsonb := '[]';
    v_key_count integer;
begin
    if required_counts is null then
        return v_problems;
    end if;
    if jsonb_typeof(required_counts) = 'array' then
        v_stages := required_counts;
    elsif jsonb_typeof(required_counts) <> 'object' then
        return v_problems || format(
            'required_counts: %s is neither a list of stages nor an object; '
            'give one such as {"stages": ["source", "target"], "tolerance": "0.1%%"}',
            left(required_counts::text, 80)
        );
    else
        select count(*) into v_key_count from jsonb_object_keys(required_counts) as k;
        if v_key_count > 20 then
            return v_problems || format(
                'required_counts: it has %s keys; give "stages" and optionally "tolerance"',
                v_key_count
            );
        end if;
        for v_key in select k from jsonb_object_keys(required_counts) as k order by k loop
            if v_key <> all (v_keys) then
                v_near := record_ledger.near_names(v_key, v_keys);
                v_problems := v_problems || format(
                    'required_counts: it has no key "%s"; %s', left(v_key, 80),
                    case cardinality(v_near)
                        when 0 then 'give "stages" and optionally "tolerance"'
                        else 'did you mean "' || v_near[1] || '"?'
                    end
                );
            end if;
        end loop;
        v_key := required_counts ->> 'tolerance';
        if jsonb_typeof(required_counts -> 'tolerance') not in ('string', 'null')
            or v_key is not null and record_ledger.count_tolerance(v_key, 0) is null
        then
            v_problems := v_problems || format(
                'required_counts: tolerance %s is neither a number of rows nor a percentage; '
                'give one such as "5 rows" or "0.1%%"',
                left((required_counts -> 'tolerance')::text, 80)
            );
        end if;
        if v_stages is null then
            return v_problems
                || 'required_counts: stages are missing; give those whose counts must agree, '
                'such as ["source", "target"]'::text;
        end if;
    end if;

    if jsonb_typeof(v_stages) <> 'array' then
        return v_problems || format(
            'required_counts: stages %s is not a list; '
            'give the stages whose counts must agree, such as ["source", "target"]',
            left(v_stages::text, 80)
        );
    end if;
    -- Each look at a record in progress looks for the counts of each stage.
    if jsonb_array_length(v_stages) > 100 then
        return v_problems || format(
            'required_counts: %s stages are too many; give at most 100',
            jsonb_array_length(v_stages)
        );
    end if;
    for v_stage in select e.element from jsonb_array_elements(v_stages) as e (element) loop
        if jsonb_typeof(v_stage) <> 'string' or not record_ledger.is_stage(v_stage #>> '{}') then
            v_problems := v_problems || format(
                'required_counts: %s is not a valid stage name; give a text of 1 to 255 bytes',
                left(v_stage::text, 80)
            );
        elsif v_seen @> v_stage then
            v_problems := v_problems || format(
                'required_counts: stage %s is given twice', left(v_stage::text, 80)
            );
        end if;
        v_seen := v_seen || jsonb_build_array(v_stage);
    end loop;
    if jsonb_array_length(v_stages) < 2 then
        v_problems := v_problems || format(
            'required_counts: stages %s are fewer than two; give at least two that must agree, '
            'such as ["source", "target"]',
            left(v_stages::text, 80)
        );
    end if;
    return v_problems;
end
$$;
comment on function record_ledger.required_counts_problems(jsonb) is
'Everything that is wrong with required_counts, one sentence each, naming the value and what would be valid.';
