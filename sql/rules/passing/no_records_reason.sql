-- record_ledger.no_records_reason: the sentence for a pipeline without any open record.
-- Says when the next window is due, since that is when the next run has something to store.
-- Called by: next_answer.
-- Uses: due_reason, iso_time, shortened.
-- Tests: test_verdicts.py.
create or replace function record_ledger.no_records_reason(
    p record_ledger.pipeline,
    -- Where the first window that is not stored yet starts.
    next_start timestamptz,
    as_of timestamptz
)
returns text
language plpgsql
stable
-- Ends the effect of set_config below with this function: a caller's session keeps its time zone.
set timezone = 'UTC'
as $$
declare
    v_timezone text := pg_catalog.set_config('timezone', p.timezone, true);
begin
    if p.is_retired then
        return format(
            'no record is open, and the pipeline was retired by %s at %s: %s',
            p.paused_by, record_ledger.iso_time(p.paused_at),
            record_ledger.shortened(p.pause_reason, 1000)
        );
    end if;
    if next_start < as_of - p.x_time_back then
        return format(
            'no record is open; the next window starts at %s and is due: the next run stores it',
            record_ledger.iso_time(next_start)
        );
    end if;
    return record_ledger.due_reason(next_start, p.x_time_back);
end
$$;
comment on function record_ledger.no_records_reason(
    record_ledger.pipeline, timestamptz, timestamptz
) is
'Why a pipeline without open records has none, and when its next window is due.';
