-- record_ledger.to_build_reason: the sentence of an answer that asks for windows to be rendered.
-- For callers that are no runner: it says what to do.
-- Read by: register_store_and_pass, pass_valid_records.
-- Rules: none.
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
