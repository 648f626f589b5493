-- record_ledger.expected_duration: how long a run of a pipeline takes, as measured; null when none was completed.
-- It is the median over the newest 100 completed passes, from the pass that drew the claim token to its completion. It
-- reads at most the newest 1,000 passes: a pipeline that failed that often has no duration to plan with.
-- Called by: plan_runs.
-- Uses: none.
-- Tests: test_plan_runs.py.
create or replace function record_ledger.expected_duration(pipeline_id text)
returns interval
language sql
stable
as $$
    -- Seconds, because the difference of two instants has a day part, which would follow the session's time zone.
    select make_interval(secs => percentile_cont(0.5) within group (order by m.seconds))
    from (
        select extract(epoch from e.completed_at - e.passed_at)::double precision as seconds
        from (
            select c.claim_token, c.window_start_time
            from record_ledger.claim as c
            where c.pipeline_id = expected_duration.pipeline_id
            order by c.claim_token desc
            limit 1000
        ) as c
        cross join lateral (
            select
                min(e.event_time) filter (where e.event in ('passed', 'passed_again')) as passed_at,
                min(e.event_time) filter (where e.event = 'completed') as completed_at
            from (
                select r.event_time, r.event
                from record_ledger.record_event as r
                where r.pipeline_id = expected_duration.pipeline_id
                    and r.window_start_time = c.window_start_time
                    and r.claim_token = c.claim_token
                union all
                select a.event_time, a.event
                from record_ledger.archived_record_event as a
                where a.pipeline_id = expected_duration.pipeline_id
                    and a.window_start_time = c.window_start_time
                    and a.claim_token = c.claim_token
            ) as e
        ) as e
        where e.completed_at >= e.passed_at
        order by c.claim_token desc
        limit 100
    ) as m
$$;
comment on function record_ledger.expected_duration(text) is
'Private. The median duration of a pipeline''s newest completed passes; null when none was completed.';
