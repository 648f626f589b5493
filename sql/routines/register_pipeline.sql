-- record_ledger.register_pipeline: validates a config and makes it the one in force; returns the pipeline_id.
-- Inserts or updates; writes nothing when the config is unchanged. All problems come in one error, RL001.
-- Called by: build_complete_pipeline_record and validate_record_timing of the runner, psql users.
-- Rules: known_config, read_config.
create or replace function record_ledger.register_pipeline(config jsonb)
returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_config jsonb := record_ledger.known_config(config);
    v_pipeline_id text;
begin
    if not record_ledger.is_safe_to_write() then
        perform record_ledger.refuse_call();
    end if;
    perform record_ledger.warn_of_misspelt_keys(config);
    -- A first look without the lock: taking one writes, and most calls change nothing.
    select p.pipeline_id into v_pipeline_id
    from record_ledger.pipeline as p
    where p.config = v_config
        and p.pipeline_id = coalesce(
            v_config ->> 'pipeline_id', v_config #>> '{default_record,pipeline_id}'
        );
    if found then
        return v_pipeline_id;
    end if;
    return (record_ledger.register_config(v_config)).pipeline_id;
end
$$;
comment on function record_ledger.register_pipeline(jsonb) is
'Validates a config and makes it the pipeline''s config in force; returns the pipeline_id. RL001 lists all problems.';
