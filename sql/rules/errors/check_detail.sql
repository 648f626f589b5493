-- record_ledger.check_detail: raises RL005 unless a detail can be kept and read.
-- It allows at most 64 KiB: the history keeps a detail for good, and every reader of the history reads it.
-- Called by: check_claim_tokens, complete_and_pass, complete_record, observe_record.
-- Uses: json_problem.
-- Tests: test_bounds.py, test_poison.py.
create or replace function record_ledger.check_detail(detail jsonb)
returns void
language plpgsql
immutable
as $$
declare
    v_problem constant text := record_ledger.json_problem(detail, 65536);
begin
    if v_problem is not null then
        raise exception 'detail: it %', v_problem
            using errcode = 'RL005',
            hint = 'Store large results elsewhere, and put their location into the detail.';
    end if;
end
$$;
comment on function record_ledger.check_detail(jsonb) is
'Private. Raises RL005 for a detail that is too large or too deep to be kept.';
