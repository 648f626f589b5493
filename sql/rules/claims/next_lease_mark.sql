-- record_ledger.next_lease_mark: before which instant no lease ends once a pass has made one; null when not known.
-- PostgreSQL takes this expression into the one around it.
-- Called by: pass_record, store_new_and_pass_valid_record.
-- Uses: none.
-- Tests: test_lane_growth.py, test_usual_call.py.
create or replace function record_ledger.next_lease_mark(
    -- The oldest other record in progress; null when there is none.
    first_active timestamptz,
    -- As it was before the pass.
    lease_mark timestamptz,
    -- Of the new lease.
    lease_end timestamptz
)
returns timestamptz
language sql
immutable
as $$
    select case
        when first_active is null then lease_end
        when lease_mark is not null then least(lease_mark, lease_end)
    end
$$;
comment on function record_ledger.next_lease_mark(timestamptz, timestamptz, timestamptz) is
'Private. The lease_mark that a claim notes: before it no lease ends.';
