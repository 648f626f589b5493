-- record_ledger.backfill_start: where a backfill of about max_records windows begins that ends at first_start.
-- It begins at the start of a local day; in a day of more than max_records windows, at the start of one of them. It is
-- not before the local day of from_time. Reads no ledger rows.
-- A day's windows start one granularity apart from its start onwards, as windows_from says.
-- Called by: backfill_range.
-- Uses: day_start, local_day.
-- Tests: test_backfill.py, test_range_steps.py.
create or replace function record_ledger.backfill_start(
    p record_ledger.pipeline,
    from_time timestamptz,
    first_start timestamptz,
    max_records integer
)
returns timestamptz
language plpgsql
immutable
as $$
declare
    v_start timestamptz := record_ledger.day_start(
        record_ledger.local_day(from_time, p.timezone), p.timezone
    );
    v_day date := record_ledger.local_day(first_start - interval '1 microsecond', p.timezone);
    v_day_start timestamptz := record_ledger.day_start(v_day, p.timezone);
    v_is_daily boolean := p.granularity >= interval '24:00:00';
    v_windows integer := case
        when v_is_daily then 1
        else ceil(extract(epoch from first_start - v_day_start) / extract(epoch from p.granularity))
    end;
    -- Clocks that are set back make a day longer, by some hours at most.
    v_windows_per_day integer := case
        when v_is_daily then 1 else ceil(97200 / extract(epoch from p.granularity))
    end;
begin
    if v_windows > max_records then
        return greatest(v_start, v_day_start + (v_windows - max_records) * p.granularity);
    end if;
    return greatest(
        v_start,
        record_ledger.day_start(
            v_day - (max_records - v_windows) / v_windows_per_day, p.timezone
        )
    );
end
$$;
comment on function record_ledger.backfill_start(
    record_ledger.pipeline, timestamptz, timestamptz, integer
) is
'Private. Where a backfill of about so many windows begins that ends at an instant.';
