-- record_ledger.waiting_for_retry: the records of a pipeline that wait, or waited, for an instant before a next run.
-- It has those that matter to the next runs: the oldest ones and those whose wait ends first, as oldest_due takes them.
-- oldest_due reads fifty of each.
-- Called by: planned_passes.
-- Uses: none.
-- Tests: test_plan_agrees.py, test_plan_reads.py.
create or replace function record_ledger.waiting_for_retry(
    p record_ledger.pipeline,
    runs integer
)
returns table (bounds tstzrange, retry_at timestamptz)
language sql
stable
as $$
    select
        tstzrange(w.window_start_time, w.window_end_time),
        least(w.retry_at, w.window_end_time + (p).source_retention)
    from (values ('retry'), ('retryh')) as l (lane)
    cross join lateral (
        (
            select o.window_start_time, o.window_end_time, o.retry_at
            from record_ledger.record as o
            where o.open_pipeline_id = (p).pipeline_id and o.lane = l.lane
                and (
                    (p).missing_fields is null
                    or o.window_start_time >= coalesce((p).filled_from, 'infinity')
                    and o.config_version >= (p).fields_version
                )
            order by o.window_start_time
            limit runs + 50
        )
        union
        (
            select e.window_start_time, e.window_end_time, e.retry_at
            from record_ledger.record as e
            where e.open_pipeline_id = (p).pipeline_id and e.lane = l.lane
                and e.lease_expires_at is null
                and (
                    (p).missing_fields is null
                    or e.window_start_time >= coalesce((p).filled_from, 'infinity')
                    and e.config_version >= (p).fields_version
                )
                and e.retry_at is not null
            order by e.lease_expires_at, e.retry_at
            limit runs + 50
        )
    ) as w
$$;
comment on function record_ledger.waiting_for_retry(record_ledger.pipeline, integer) is
'Private. The records that wait for an instant before their next run, as far as they matter to a pipeline''s next runs.';
