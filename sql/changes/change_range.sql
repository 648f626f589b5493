-- record_ledger.change_range: waives, reopens, expires or cancels records of a locked pipeline; returns how many.
-- It changes records whose whole window lies in [from_time, to_time), in one statement, and leaves others alone.
-- Called by: cancel_records, expire_leases, range_step, reopen_records, waive_records.
-- Uses: cancel_range, expire_range, reopen_range, waive_range.
-- Tests: test_ranges.py.
create or replace function record_ledger.change_range(
    operation text,
    p record_ledger.pipeline,
    from_time timestamptz,
    to_time timestamptz,
    reason text,
    as_of timestamptz
)
returns integer
language plpgsql
as $$
begin
    return case operation
        when 'waive' then record_ledger.waive_range(p, from_time, to_time, reason, as_of)
        when 'reopen'
            then record_ledger.reopen_range(
                p, from_time, to_time, jsonb_build_object('reason', reason), as_of
            )
        when 'expire' then record_ledger.expire_range(p, from_time, to_time, reason, as_of)
        when 'cancel' then record_ledger.cancel_range(p, from_time, to_time, reason, as_of)
    end;
end
$$;
comment on function record_ledger.change_range(
    text, record_ledger.pipeline, timestamptz, timestamptz, text, timestamptz
) is
'Private. Waives, reopens, expires or cancels the records of a range of a locked pipeline; returns how many.';
