-- record_ledger.backfill_windows: the windows that a backfill adds before the first stored one, oldest first.
-- They begin at the first instant of from_time's local day; the last one ends where the first stored one starts.
-- backfill_range says the same in parts.
-- Called by: range_effects.
-- Uses: day_start, local_day, windows_from.
-- Tests: test_range_effects.py.
create or replace function record_ledger.backfill_windows(
    p record_ledger.pipeline, from_time timestamptz, first_start timestamptz
)
returns table (target_day date, window_start_time timestamptz, window_end_time timestamptz)
language sql
immutable
as $$
    select w.target_day, w.window_start_time, least(w.window_end_time, first_start)
    from record_ledger.windows_from(
        record_ledger.day_start(
            record_ledger.local_day(from_time, (p).timezone), (p).timezone
        ),
        first_start,
        (p).granularity,
        (p).timezone,
        null
    ) as w
    where from_time < first_start
    order by w.window_start_time
$$;
comment on function record_ledger.backfill_windows(
    record_ledger.pipeline, timestamptz, timestamptz
) is
'Private. The windows that a backfill adds before the first stored one, oldest first.';
