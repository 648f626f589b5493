-- record_ledger.built_problem: what is wrong with the built windows that a caller sent; null when nothing is.
-- Each must be {"window_start_time": ISO 8601 with offset, "window_end_time": the same, "config_version": the number
-- that to_build gave, "fields": {...}}, and one of the config in force has exactly its fields.
-- Called by: register_store_and_pass, store_new_records.
-- Uses: instant, json_problem, shortened.
-- Tests: test_building.py, test_bounds.py.
create or replace function record_ledger.built_problem(built jsonb, p record_ledger.pipeline)
returns text
language plpgsql
stable
as $$
declare
    v_entry jsonb;
    v_name text;
    v_problem text;
    v_fields constant text[] := array(select k from jsonb_object_keys(p.fields) as k order by k);
begin
    if jsonb_typeof(built) is distinct from 'array' then
        return format('built: %s is not a JSON array', coalesce(left(built::text, 80), 'null'));
    end if;
    for v_entry in select e.element from jsonb_array_elements(built) as e (element) loop
        foreach v_name in array array['window_start_time', 'window_end_time'] loop
            if jsonb_typeof(v_entry) <> 'object'
                or record_ledger.instant(v_entry ->> v_name) is null
            then
                return format(
                    'built: %s has no %s in ISO 8601 with an offset; '
                    'send back what to_build names',
                    left(v_entry::text, 160),
                    v_name
                );
            end if;
        end loop;
        if jsonb_typeof(v_entry -> 'config_version') is distinct from 'number'
            or v_entry ->> 'config_version' !~ '^[0-9]{1,9}$'
        then
            return format(
                'built: window %s has no config_version; send back the one that to_build names',
                v_entry ->> 'window_start_time'
            );
        end if;
        if jsonb_typeof(v_entry -> 'fields') is distinct from 'object' then
            return format(
                'built: window %s has no object "fields"', v_entry ->> 'window_start_time'
            );
        end if;
        v_problem := record_ledger.json_problem(v_entry -> 'fields', 262144);
        if v_problem is not null then
            return format(
                'built: the fields of window %s are not valid: their JSON %s',
                v_entry ->> 'window_start_time', v_problem
            );
        end if;
        if (v_entry ->> 'config_version')::integer = p.config_version
            and array(select k from jsonb_object_keys(v_entry -> 'fields') as k order by k)
                <> v_fields
        then
            return format(
                'built: the fields of window %s are %s; the config''s default_record has %s',
                v_entry ->> 'window_start_time',
                record_ledger.shortened(
                    array(
                        select k from jsonb_object_keys(v_entry -> 'fields') as k order by k
                    )::text,
                    2000
                ),
                record_ledger.shortened(v_fields::text, 2000)
            );
        end if;
    end loop;
    return null;
end
$$;
comment on function record_ledger.built_problem(jsonb, record_ledger.pipeline) is
'What is wrong with the built windows that a caller sent; null when nothing is.';
