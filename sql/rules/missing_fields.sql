-- record_ledger.missing_fields: the check_fields that are empty in a record's fields.
-- Empty is missing, null or "". Null, not an empty array, when nothing is missing: the record is complete.
-- Read by: is_complete, store_windows, build_records, register_config.
-- Rules: the ledger's own columns are never empty.
create or replace function record_ledger.missing_fields(fields jsonb, check_fields text[])
returns text[]
language sql
immutable
as $$
    select array_agg(f.field order by f.n)
    from unnest(check_fields) with ordinality as f (field, n)
    where coalesce(fields ->> f.field, '') = ''
        and f.field <> all (record_ledger.ledger_columns())
$$;
comment on function record_ledger.missing_fields(jsonb, text[]) is
'The check_fields that are missing, null or "" in the fields; null when none is.';
