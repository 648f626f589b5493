-- record_ledger.void_marks: what the claims of a pipeline note of its lanes and leases does not hold any more.
-- An operation has brought records into lanes or taken them out, or a lease ends earlier: the next pass looks from the
-- beginning, and notes it anew. A pass that looked before it had the pipeline's lock sees that the row has changed.
-- Called by: reopen_range, waive_records, backfill_records, build_records, extend_lease, under the pipeline's lock.
-- Rules: next_answer says when the marks of a claim hold.
create or replace function record_ledger.void_marks(pipeline_id text)
returns void
language sql
as $$
    update record_ledger.pipeline as p
    set marks_void_at = (
        select max(c.claim_token)
        from record_ledger.claim as c
        where c.pipeline_id = void_marks.pipeline_id
    )
    where p.pipeline_id = void_marks.pipeline_id
$$;
comment on function record_ledger.void_marks(text) is
'Private. Says that what the claims of a pipeline note of its lanes and leases does not hold any more.';
