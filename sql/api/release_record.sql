-- record_ledger.release_record: gives a passed record back untouched; the attempt is not counted.
-- The record is PENDING again immediately. With not_before, no run is passed it before that instant, this run included.
-- A cancelled claim ends as FAILED instead. Needs the current claim token, and the claim's window when the caller names
-- one (RL004 otherwise). A repeated call changes nothing.
-- A run calls it when it was stopped before it began, or when its source is not ready.
-- Called by: record_ledger_runner, the Python runner, dbt.
-- Uses: end_claim, iso_time.
-- Tests: test_claims.py, test_postponing.py.
create or replace function record_ledger.release_record(
    pipeline_id text,
    claim_token bigint,
    not_before timestamptz default null,
    window_start_time timestamptz default null
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
    if release_record.not_before = 'infinity' then
        raise exception 'not_before: infinity is not a valid time; no run would ever be passed it'
            using errcode = 'RL005',
            hint = 'Give an instant. To keep a record from all runs, waive it.';
    end if;
    -- A time that a driver cannot read would break the overview of all pipelines.
    if release_record.not_before >= timestamptz '9001-01-01 00:00:00+00' then
        raise exception 'not_before: % is not a valid time; give one before the year 9001',
            record_ledger.iso_time(release_record.not_before)
            using errcode = 'RL005';
    end if;
    perform record_ledger.end_claim(
        pipeline_id, claim_token, window_start_time, 'released', '{}', not_before => not_before
    );
end
$$;
comment on function record_ledger.release_record(text, bigint, timestamptz, timestamptz) is
'Gives a passed record back untouched: PENDING, the attempt not counted, and passed to no run before not_before. RL004 unless the claim token is current.';
