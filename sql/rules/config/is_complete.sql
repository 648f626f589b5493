-- record_ledger.is_complete: is every check_field filled?
-- A record without check_fields is complete.
-- Read by: analysts; the routines keep the names of what is missing instead.
-- Rules: missing_fields.
create or replace function record_ledger.is_complete(fields jsonb, check_fields text[])
returns boolean
language sql
immutable
as $$
    select record_ledger.missing_fields(fields, check_fields) is null
$$;
comment on function record_ledger.is_complete(jsonb, text[]) is
'Whether every check_field is non-empty in the fields.';
