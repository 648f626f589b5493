-- record_ledger.void_marks: declares invalid what the claims of a pipeline say about its lanes and leases.
-- A record has entered a lane other than by the end of a claim, or a lease ends earlier than it did. The next pass
-- reads from the beginning and marks again. A pass that has read before it had the lock sees that the row has changed.
-- first_look says when the marks of a claim are valid.
-- Called by: backfill_range, check_record_change, reopen_range.
-- Uses: none.
-- Tests: test_backfill.py, test_starting_again.py.
create or replace function record_ledger.void_marks(pipeline_id text)
returns void
language plpgsql
as $$
#variable_conflict use_column
begin
    -- A statement of its own: the next one sees the claim of the pass that held the lock.
    perform
    from record_ledger.pipeline as p
    where p.pipeline_id = void_marks.pipeline_id
    for no key update;
    -- Even when the token is the same: a pass that has read already sees by the row that something has changed.
    update record_ledger.pipeline as p
    set marks_void_at = (
        select max(c.claim_token)
        from record_ledger.claim as c
        where c.pipeline_id = void_marks.pipeline_id
    )
    where p.pipeline_id = void_marks.pipeline_id;
end
$$;
comment on function record_ledger.void_marks(text) is
'Private. Declares invalid what the claims of a pipeline say about its lanes and leases.';
