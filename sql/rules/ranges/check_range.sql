-- record_ledger.check_range: raises RL005 for a range that is empty, or whose ends are not given.
-- -infinity and infinity are valid bounds: a caller who means everything has to say so.
-- Called by: cancel_records, expire_leases, range_effects, range_step, reopen_records, waive_records.
-- Uses: iso_time.
-- Tests: test_ranges.py.
create or replace function record_ledger.check_range(from_time timestamptz, to_time timestamptz)
returns void
language plpgsql
stable
as $$
begin
    if from_time is null or to_time is null then
        raise exception '%: null is not a valid time',
            case when from_time is null then 'from_time' else 'to_time' end
            using errcode = 'RL005',
            hint = 'Give both ends of the range; -infinity and infinity are valid ends.';
    end if;
    if from_time >= to_time then
        raise exception 'the range is empty: to_time (%) must be later than from_time (%)',
            record_ledger.iso_time(to_time), record_ledger.iso_time(from_time)
            using errcode = 'RL005',
            hint = 'The end is the first instant after the range: for one day, give the next day.';
    end if;
end
$$;
comment on function record_ledger.check_range(timestamptz, timestamptz) is
'Private. Raises RL005 for a range that is inverted, empty or null.';
