-- record_ledger.retry_time: when a record that failed may be passed again.
-- It is retry_delay after the first failed attempt, and doubles after each further one, up to a day (or retry_delay).
-- With a source_retention it is at most half of the time that is left: a backoff never loses a record.
-- Types are exact and names qualified (docs/design.md, Names).
-- Called by: collect_expired_leases, deciding_record, end_claim, expected_claims, expire_range, next_candidate,
--   plan_runs, record_verdict.
-- Uses: half_of_time_left.
-- Tests: test_starting_again.py, test_retention.py.
create or replace function record_ledger.retry_time(
    failed_at timestamptz,
    attempt integer,
    window_end_time timestamptz,
    p record_ledger.pipeline
)
returns timestamptz
language sql
-- Not immutable, though elapsed time is: adding to an instant counts as stable, and only then is the call inlined.
stable
as $$
    -- Computed in seconds: a doubled interval goes out of range after about thirty attempts, and the difference of two
    -- instants has a day part.
    select failed_at + interval '1 second' * least(
        extract(epoch from (p).retry_delay)::double precision
        * pg_catalog.power(2::double precision, least(attempt - 1, 60)::double precision),
        greatest(86400, extract(epoch from (p).retry_delay)),
        record_ledger.half_of_time_left(window_end_time, p, failed_at)
    )
$$;
comment on function record_ledger.retry_time(
    timestamptz, integer, timestamptz, record_ledger.pipeline
) is
'The end of the backoff after an attempt failed: retry_delay, doubled per attempt, at most a day or half of the time left.';
