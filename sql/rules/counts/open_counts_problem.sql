-- record_ledger.open_counts_problem: counts_problem of the claim that holds a record now; null when none holds it.
-- The caller names the window and not the token: otherwise the answers would let a caller guess the current token.
-- Called by: record_verdicts.
-- Uses: counts_problem.
-- Tests: test_required_counts.py.
create or replace function record_ledger.open_counts_problem(
    pipeline_id text, window_start_time timestamptz
)
returns text
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select record_ledger.counts_problem(r.pipeline_id, r.window_start_time, r.claim_token)
    from record_ledger.record as r
    where r.pipeline_id = open_counts_problem.pipeline_id
        and r.window_start_time = open_counts_problem.window_start_time
        and r.status = 'IN_PROGRESS'
$$;
comment on function record_ledger.open_counts_problem(text, timestamptz) is
'Why the counts of the claim that holds a record do not suffice to complete it; null when they do, or none are required.';
