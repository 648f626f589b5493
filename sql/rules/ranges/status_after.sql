-- record_ledger.status_after: what an operation on a range makes of a record; null when it leaves the record alone.
--   waive   a pending or failed record needs no run any more
--   reopen  a finished or failed record is pending once more, unless its source data is gone
--   expire  a claim that is known to be dead ends as if its lease had run out: pending, or failed without attempts left
--           or when it was cancelled
--   cancel  a claim continues until its run stops or its lease ends, and the record fails then
-- check_record_change guards each change.
-- Called by: cancel_range, expire_range, range_effects, range_step, reopen_range, waive_range.
-- Uses: none.
-- Tests: test_range_effects.py, test_ranges.py.
create or replace function record_ledger.status_after(
    operation text, status text, has_attempts_left boolean, is_cancelled boolean, is_lost boolean
)
returns text
language sql
immutable
as $$
    select case
        when operation = 'waive' and status in ('PENDING', 'FAILED') then 'WAIVED'
        when operation = 'reopen' and status in ('COMPLETED', 'FAILED', 'WAIVED')
            -- The next pass would waive it.
            and not is_lost then 'PENDING'
        when operation = 'expire' and status = 'IN_PROGRESS' and has_attempts_left
            and not is_cancelled then 'PENDING'
        when operation = 'expire' and status = 'IN_PROGRESS' then 'FAILED'
        when operation = 'cancel' and status = 'IN_PROGRESS' and not is_cancelled then status
    end
$$;
comment on function record_ledger.status_after(text, text, boolean, boolean, boolean) is
'Private. What waive, reopen, expire or cancel makes of a record of a status; null when it leaves the record alone.';
