-- record_ledger.is_in_range: does a whole window lie in [from_time, to_time)?
-- A window that lies only partly in the range is not the operator's.
-- Called by: cancel_range, expire_range, range_effects, range_step, reopen_range, waive_range.
-- Uses: none.
-- Tests: test_ranges.py.
create or replace function record_ledger.is_in_range(
    window_start_time timestamptz,
    window_end_time timestamptz,
    from_time timestamptz,
    to_time timestamptz
)
returns boolean
language sql
immutable
as $$
    select window_start_time >= from_time and window_end_time <= to_time
        -- Redundant, but it ends the scan of the primary key where the range ends.
        and window_start_time < to_time
$$;
comment on function record_ledger.is_in_range(
    timestamptz, timestamptz, timestamptz, timestamptz
) is
'Private. Whether a whole window lies in a range; the range excludes its end.';
