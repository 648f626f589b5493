-- record_ledger.retry_time: when a record that failed may be passed again.
-- retry_delay after the first failed attempt, doubled after each further one, never more than a day (or retry_delay).
-- Read by: end_claim, expire_leases, collect_expired_leases, next_candidate, deciding_record, record_verdict,
-- expected_claims, plan_runs.
-- Rules: none.
create or replace function record_ledger.retry_time(
    failed_at timestamptz, attempt integer, retry_delay interval
)
returns timestamptz
language sql
-- Not immutable, though elapsed time is: adding to an instant counts as stable, and only then is the call inlined.
stable
as $$
    select failed_at + least(
        retry_delay * power(2, least(attempt - 1, 30)),
        greatest(interval '24:00:00', retry_delay)
    )
$$;
comment on function record_ledger.retry_time(timestamptz, integer, interval) is
'The end of the backoff after an attempt failed: retry_delay, doubled per attempt, at most a day.';
