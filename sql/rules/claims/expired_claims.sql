-- record_ledger.expired_claims: the claims of a pipeline whose leases have run out; at most the ten that ended first.
-- A pass takes back that many, so it stays as fast after an outage, however many have expired. Each pass adds at most
-- one claim. A record whose lease has run out can be passed once a pass has taken it back.
-- Called by: collect_expired_leases, deciding_record, lost_before, next_candidate.
-- Uses: none.
-- Tests: test_passing.py, test_lane_growth.py.
create or replace function record_ledger.expired_claims(
    pipeline_id text,
    -- No lease ends before it; null when that is not known.
    lease_mark timestamptz,
    as_of timestamptz
)
returns setof record_ledger.record
language sql
stable
as $$
    select r.*
    from record_ledger.record as r
    where r.open_pipeline_id = expired_claims.pipeline_id and r.lane = 'active'
        and r.lease_expires_at >= coalesce(expired_claims.lease_mark, '-infinity')
        and r.lease_expires_at <= expired_claims.as_of
    order by r.lease_expires_at
    limit 10
$$;
comment on function record_ledger.expired_claims(text, timestamptz, timestamptz) is
'Private. The claims of a pipeline whose leases have run out, at most the ten that ended first.';
