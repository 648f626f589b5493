-- record_ledger.to_build_reason: the sentence of an answer that asks for windows to be rendered.
-- It tells callers other than the runner what to do.
-- Called by: pass_valid_records, register_store_and_pass.
-- Uses: none.
-- Tests: test_building.py.
create or replace function record_ledger.to_build_reason(to_build jsonb)
returns text
language sql
immutable
as $$
    select format(
        '%s windows wait to be built: render default_record for each and call again with built',
        jsonb_array_length(to_build)
    )
$$;
comment on function record_ledger.to_build_reason(jsonb) is
'Private. The sentence of an answer that asks for windows to be rendered.';
