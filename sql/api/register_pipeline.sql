-- record_ledger.register_pipeline: validates a config and makes it the one in force; returns the pipeline_id.
-- It inserts or updates; it writes nothing when the config in force has the same meaning. One error, RL001, lists all
-- problems.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: check_owner, configured, is_safe_to_write, is_same_config, note_start_at, refuse_call, register_config,
--   warn_of_misspelt_keys.
-- Tests: test_registering.py, test_config_rules.py.
create or replace function record_ledger.register_pipeline(config jsonb)
returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    p record_ledger.pipeline;
begin
    if not record_ledger.is_safe_to_write() then
        perform record_ledger.refuse_call();
    end if;
    perform record_ledger.warn_of_misspelt_keys(config);
    -- First without the lock: a lock writes, and most calls change nothing.
    select q.* into p
    from record_ledger.pipeline as q
    where q.pipeline_id = coalesce(
        register_pipeline.config ->> 'pipeline_id',
        register_pipeline.config #>> '{default_record,pipeline_id}'
    );
    if found and record_ledger.is_same_config(p, config) then
        perform record_ledger.check_owner(p.pipeline_id, p.owner_role);
        perform record_ledger.note_start_at(p, config);
        return p.pipeline_id;
    end if;
    return (
        record_ledger.register_config((record_ledger.configured(p, config)).config)
    ).pipeline_id;
end
$$;
comment on function record_ledger.register_pipeline(jsonb) is
'Validates a config and makes it the pipeline''s config in force; returns the pipeline_id. RL001 lists all problems.';
