-- record_ledger.passed_reason: the sentence for a record that is passed.
-- PostgreSQL takes this expression into the one around it.
-- Called by: pass_record, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_passing.py, test_batches.py.
create or replace function record_ledger.passed_reason(
    -- As record_object has it.
    record jsonb,
    run_id text,
    attempt integer,
    max_attempts integer
)
returns text
language sql
stable
as $$
    select concat(
        'window ', record ->> 'window_start_time', ' is passed', ' to run ' || run_id,
        ', attempt ', attempt, ' of ', max_attempts
    )
$$;
comment on function record_ledger.passed_reason(jsonb, text, integer, integer) is
'Private. The sentence for a record that is passed to a run.';
