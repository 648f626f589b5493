-- record_ledger.known_config: a config without what the ledger ignores.
-- Keys that are null count as not given.
-- Called by: configured.
-- Uses: config_keys.
-- Tests: test_registering.py, test_same_config.py.
create or replace function record_ledger.known_config(config jsonb)
returns jsonb
language sql
immutable
as $$
    select case jsonb_typeof(config)
        when 'object' then (
            select coalesce(jsonb_object_agg(entry.key, entry.value), '{}')
            from jsonb_each(config) as entry
            where entry.key = any (record_ledger.config_keys())
                and jsonb_typeof(entry.value) <> 'null'
        )
        -- read_config says what is wrong with it.
        else config
    end
$$;
comment on function record_ledger.known_config(jsonb) is
'A config without the keys that the ledger ignores, and without those that are null.';
