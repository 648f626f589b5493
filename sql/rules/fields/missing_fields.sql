-- record_ledger.missing_fields: the check_fields that are empty in a record's fields.
-- A field is empty when it is missing, null or "". The answer is null, not an empty array, when none is empty: the
-- record is complete. The ledger's own columns are never empty. Names are qualified (docs/design.md, Names).
-- Called by: build_record, configured, store_windows.
-- Uses: ledger_columns.
-- Tests: test_building.py.
create or replace function record_ledger.missing_fields(fields jsonb, check_fields text[])
returns text[]
language plpgsql
immutable
as $$
declare
    v_field text;
    v_missing text[];
begin
    foreach v_field in array check_fields loop
        if coalesce(fields ->> v_field, '') = ''
            and v_field <> all (record_ledger.ledger_columns())
        then
            v_missing := pg_catalog.array_append(v_missing, v_field);
        end if;
    end loop;
    return v_missing;
end
$$;
comment on function record_ledger.missing_fields(jsonb, text[]) is
'The check_fields that are missing, null or "" in the fields; null when none is.';
