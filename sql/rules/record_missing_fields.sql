-- record_ledger.record_missing_fields: what a stored record lacks by the config in force; null when it is complete.
-- A record that was never built lacks every field.
-- Read by: register_config, reopen_records, backfill_records.
-- Rules: missing_fields.
create or replace function record_ledger.record_missing_fields(
    fields jsonb, config_version integer, p record_ledger.pipeline
)
returns text[]
language plpgsql
immutable
as $$
begin
    if config_version is not null then
        return record_ledger.missing_fields(fields, p.check_fields);
    end if;
    return (
        select nullif(array_agg(k order by k), '{}')
        from jsonb_object_keys(p.fields) as k
    );
end
$$;
comment on function record_ledger.record_missing_fields(
    jsonb, integer, record_ledger.pipeline
) is
'Private. What a stored record lacks by the config in force; null when it is complete.';
