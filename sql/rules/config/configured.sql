-- record_ledger.configured: the row that a pipeline has once a config is in force; validates it (RL001).
-- Everything but the config stays: whether it is paused, when it was registered. Writes nothing.
-- Once there are records, start_at stays as it was: it said where the first of them starts. Another start_at raises a
-- notice with the same text in each call, so that a program can show it once.
-- Called by: batch_to_build, register_config, register_pipeline, register_store_and_pass.
-- Uses: known_config, last_window, missing_fields, note_start_at, read_config.
-- Tests: test_registering.py.
create or replace function record_ledger.configured(
    old record_ledger.pipeline, config jsonb
)
returns record_ledger.pipeline
language plpgsql
stable
as $$
declare
    p record_ledger.pipeline := record_ledger.read_config(record_ledger.known_config(config));
begin
    p.missing_fields := record_ledger.missing_fields(p.fields, p.check_fields);
    p.fields_version := 1;
    if old.pipeline_id is null then
        return p;
    end if;
    p.config_version := old.config_version + 1;
    if p.fields = old.fields and p.check_fields = old.check_fields then
        p.fields_version := old.fields_version;
        p.filled_from := old.filled_from;
    else
        p.fields_version := p.config_version;
    end if;
    p.paused_at := old.paused_at;
    p.paused_by := old.paused_by;
    p.pause_reason := old.pause_reason;
    p.is_retired := old.is_retired;
    p.owner_role := old.owner_role;
    -- Another zone has cut no window yet.
    p.zone_since := case when p.timezone = old.timezone then old.zone_since end;
    p.marks_void_at := old.marks_void_at;
    p.created_at := old.created_at;
    p.updated_at := old.updated_at;
    if exists (select from record_ledger.last_window(p.pipeline_id)) then
        perform record_ledger.note_start_at(old, config);
        p.start_at := old.start_at;
        p.config := p.config - 'start_at';
        if old.config ? 'start_at' then
            p.config := p.config || jsonb_build_object('start_at', old.config -> 'start_at');
        end if;
    end if;
    return p;
end
$$;
comment on function record_ledger.configured(record_ledger.pipeline, jsonb) is
'Private. The row that a pipeline has once a config is in force; raises RL001 with all problems in one error.';
