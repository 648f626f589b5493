-- record_ledger.warn_of_misspelt_keys: raises a warning for each ignored key that looks like a misspelt one.
-- 'chek_fields' would otherwise be ignored silently, and the pipeline would pass incomplete records. It looks at the
-- first 100 ignored keys.
-- Called by: register_pipeline, register_store_and_pass.
-- Uses: config_keys, near_names.
-- Tests: test_config_rules.py.
create or replace function record_ledger.warn_of_misspelt_keys(config jsonb)
returns void
language plpgsql
stable
as $$
declare
    v_key text;
    v_near text[];
begin
    for v_key in
        select key
        from jsonb_object_keys(
            case jsonb_typeof(config) when 'object' then config else '{}' end
        ) as key
        where key <> all (record_ledger.config_keys())
        order by key
        -- The search for near names takes a millisecond, and a config may have thousands of other keys.
        limit 100
    loop
        v_near := record_ledger.near_names(v_key, record_ledger.config_keys());
        if cardinality(v_near) > 0 then
            raise warning 'config key "%" is ignored; did you mean "%"?', v_key, v_near[1];
        end if;
    end loop;
end
$$;
comment on function record_ledger.warn_of_misspelt_keys(jsonb) is
'Raises a warning for each ignored key that looks like a misspelt one.';
