-- record_ledger.lane: where an open record waits; null for a finished one.
--   active     in progress
--   failed     failed
--   historical pending, backfilled or reopened
--   incomplete pending, built, and check_fields are empty: with the config_version it has, and h if historical
--   retry      pending, and kept from the next run by a retry_at (in backoff, or released until then); retryh if
--              historical. It stays there after that instant, so in every other lane the first record can be passed
--   returned   pending again, after a pass, or after it was incomplete
--   waiting    pending, never passed, stored in order: passed strictly oldest first
-- A new config moves no record to another lane: outdated records count by what default_record fills. Every open record
-- is in exactly one lane, so one index of lanes serves every search of a pass.
-- Called by: backfill_range, check_record_change, store_windows.
-- Uses: none.
-- Tests: test_state_machine.py, test_lane_growth.py.
create or replace function record_ledger.lane(
    status text,
    missing_fields text[],
    config_version integer,
    -- It has been in no other lane than 'waiting'.
    is_in_order boolean,
    is_historical boolean,
    retry_at timestamptz
)
returns text
language sql
immutable
as $$
    select case
        when status = 'PENDING' and missing_fields is not null and config_version is not null
            then 'incomplete' || lpad(config_version::text, 10, '0')
                || case when is_historical then 'h' else '' end
        when status = 'PENDING' and retry_at is not null
            then case when is_historical then 'retryh' else 'retry' end
        when status = 'PENDING' and is_historical then 'historical'
        when status = 'PENDING' and is_in_order then 'waiting'
        when status = 'PENDING' then 'returned'
        when status = 'IN_PROGRESS' then 'active'
        when status = 'FAILED' then 'failed'
    end
$$;
comment on function record_ledger.lane(
    text, text[], integer, boolean, boolean, timestamptz
) is
'Private. The lane of an open record: active, failed, historical, incomplete with a version, retry, returned or waiting; null when finished.';
