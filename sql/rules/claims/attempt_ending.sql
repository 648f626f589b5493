-- record_ledger.attempt_ending: what ended the newest attempt of a record, as BACKOFF and FAILED say it.
-- For a cancelled claim it is the cancellation, not what the run reported. A record whose expired lease no pass has
-- collected yet still has the event of its pass as its newest one: then its lease has expired.
-- The text is shortened, because each answer and each row of why repeats it; the history has it whole.
-- Called by: record_verdict.
-- Uses: shortened.
-- Tests: test_verdicts.py, test_cancelling.py.
create or replace function record_ledger.attempt_ending(last_event text, last_detail jsonb)
returns text
language sql
immutable
as $$
    select case
        when last_detail ? 'cancelled_by' then pg_catalog.format(
            'it was cancelled by %s: %s',
            last_detail ->> 'cancelled_by',
            record_ledger.shortened(last_detail ->> 'cancel_reason', 1000)
        )
        when last_event = 'failed'
            then coalesce(
                record_ledger.shortened(nullif(last_detail ->> 'error', ''), 1000),
                'no error was reported'
            )
        when last_event = 'rebuilt' then 'its record has been built again since'
        when last_event = 'counts_waived'
            then coalesce(
                'its counts have been waived since: '
                || record_ledger.shortened(last_detail ->> 'reason', 1000),
                'its lease expired'
            )
        else coalesce(
            'it was taken back: ' || record_ledger.shortened(last_detail ->> 'reason', 1000),
            'its lease expired'
        )
    end
$$;
comment on function record_ledger.attempt_ending(text, jsonb) is
'What ended the newest attempt of a record: the run''s error, the operator''s reason, or an expired lease.';
