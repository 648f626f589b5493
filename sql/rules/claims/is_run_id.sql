-- record_ledger.is_run_id: can a run of this name be bound to a record?
-- A text of 1 to 1024 bytes that is not blank; null too, and it binds nothing.
-- Called by: complete_and_pass, pass_valid_record, pass_valid_records, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_passing.py, test_batches.py.
create or replace function record_ledger.is_run_id(run_id text)
returns boolean
language sql
immutable
as $$
    -- Nearly all begin with an ASCII character that is not a space: no pattern has to be matched.
    select coalesce(
        (ascii(run_id) between 33 and 126 or run_id ~ '[^[:space:]]')
        and octet_length(run_id) <= 1024,
        true
    )
$$;
comment on function record_ledger.is_run_id(text) is
'Whether a text can be a run id: 1 to 1024 bytes and not blank, or null.';
