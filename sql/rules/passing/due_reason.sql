-- record_ledger.due_reason: the sentence for a pipeline without any open record, whose next window is not due yet.
-- The caller has set the time zone in force to that of the window. PostgreSQL takes this expression into the one
-- around it.
-- Names are qualified (docs/design.md, Names).
-- Called by: no_records_reason, store_new_and_pass_valid_record.
-- Uses: iso_time.
-- Tests: test_usual_call.py, test_verdicts.py.
create or replace function record_ledger.due_reason(next_start timestamptz, x_time_back interval)
returns text
language sql
stable
as $$
    select pg_catalog.concat(
        'no record is open; the next window starts at ', record_ledger.iso_time(next_start),
        ' and is due after ', record_ledger.iso_time(next_start + x_time_back)
    )
$$;
comment on function record_ledger.due_reason(timestamptz, interval) is
'Private. The sentence for a pipeline without open records, whose next window is not due yet.';
