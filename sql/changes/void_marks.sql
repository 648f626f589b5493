-- record_ledger.void_marks: what the claims of a pipeline note of its lanes and leases does not hold any more.
-- Records have come to lanes other than by the end of a claim, or a lease ends earlier than it did: the next pass looks
-- from the beginning, and notes it anew. A pass that looked before it had the lock sees that the row has changed.
-- first_look says when the marks of a claim hold.
-- Called by: backfill_range, check_record_change, reopen_range.
-- Uses: none.
-- Tests: test_backfill.py, test_starting_again.py.
create or replace function record_ledger.void_marks(pipeline_id text)
returns void
language plpgsql
as $$
#variable_conflict use_column
begin
    -- In a statement of its own: the next one sees the claim of a pass that was waited for.
    perform
    from record_ledger.pipeline as p
    where p.pipeline_id = void_marks.pipeline_id
    for no key update;
    -- Even when the token is the same: by its row a pass that has looked already sees that something has changed.
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
'Private. Says that what the claims of a pipeline note of its lanes and leases does not hold any more.';
