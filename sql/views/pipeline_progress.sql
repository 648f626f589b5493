-- record_ledger.pipeline_progress: where each pipeline stands now.
-- One row per pipeline that is not retired: its answer to a run, its open records by state, how far behind it is.
-- Read by: record_ledger_reader, the Python runner, dbt.
-- Uses: clock, first_window_start, is_at_risk, next_window, open_windows, pipeline_answer.
-- Tests: test_verdicts.py, test_pausing.py.
create or replace view record_ledger.pipeline_progress as
select
    p.pipeline_id,
    p.timezone,
    answer.verdict,
    answer.reason,
    answer.ready_at,
    case when answer.verdict = 'READY' then answer.window_start_time end as oldest_valid_window,
    lanes.pending_count,
    lanes.incomplete_count,
    lanes.in_progress_count,
    lanes.failed_count,
    coalesce(lanes.earliest_open, upcoming.window_start_time) as done_until,
    stored.last_window_end_time,
    upcoming.window_start_time as next_window_start_time,
    upcoming.window_start_time + p.x_time_back as next_window_due_at,
    greatest(
        moment.as_of - p.x_time_back - coalesce(
            (
                select r.window_end_time
                from record_ledger.record as r
                where r.pipeline_id = p.pipeline_id and r.window_start_time = lanes.earliest_open
            ),
            next_window.window_end_time
        ),
        interval '0'
    ) as lag,
    case
        when p.source_retention is not null then (
            select count(*)
            from record_ledger.open_windows(p, moment.as_of) as k
            where record_ledger.is_at_risk(k.window_end_time, p, moment.as_of)
        )
        else 0
    end as at_risk_count,
    (
        select coalesce(sum((e.detail -> 'count')::bigint), 0)::bigint
        from record_ledger.pipeline_event as e
        where e.pipeline_id = p.pipeline_id and e.event = 'lost'
    ) as lost_count
-- One instant for the whole statement; offset 0 keeps the planner from asking the clock once per pipeline.
from (select record_ledger.clock() as as_of offset 0) as moment
cross join record_ledger.pipeline as p
cross join lateral record_ledger.pipeline_answer(p, moment.as_of) as answer
cross join lateral (
    select
        coalesce(
            sum(l.records) filter (where l.lane not in ('active', 'failed')), 0
        )::bigint as pending_count,
        -- Outdated ones count by what default_record fills; otherwise only records that callers filled are complete.
        case
            when p.missing_fields is null
                then coalesce(
                    sum(l.records) filter (
                        where l.lane like 'incomplete%'
                        and l.lane >= 'incomplete' || lpad(p.fields_version::text, 10, '0')
                    ),
                    0
                )::bigint
            else coalesce(
                sum(l.records) filter (where l.lane not in ('active', 'failed')), 0
            )::bigint - (
                select count(*)
                from record_ledger.record as f
                where f.open_pipeline_id = p.pipeline_id
                    and f.lane in ('historical', 'retry', 'retryh', 'returned', 'waiting')
                    and f.window_start_time >= coalesce(p.filled_from, 'infinity')
                    and f.config_version >= p.fields_version
            )
        end as incomplete_count,
        coalesce(sum(l.records) filter (where l.lane = 'active'), 0)::bigint as in_progress_count,
        coalesce(sum(l.records) filter (where l.lane = 'failed'), 0)::bigint as failed_count,
        min(l.earliest) as earliest_open
    from (
        select
            o.lane,
            count(*) as records,
            min(o.window_start_time) as earliest
        from record_ledger.record as o
        where o.open_pipeline_id = p.pipeline_id
        group by o.lane
    ) as l
) as lanes
left join lateral (
    select n.window_end_time as last_window_end_time
    from record_ledger.record as n
    where n.pipeline_id = p.pipeline_id
    order by n.window_start_time desc
    limit 1
) as stored on true
cross join lateral (
    select
        coalesce(
            stored.last_window_end_time,
            record_ledger.first_window_start(p, moment.as_of)
        ) as window_start_time
    offset 0
) as upcoming
cross join lateral record_ledger.next_window(
    upcoming.window_start_time, p.granularity, p.timezone
) as next_window
where not p.is_retired;
comment on view record_ledger.pipeline_progress is
'Where each pipeline stands now: one row per pipeline that is not retired, with its answer to a run, its open records and its lag.';
comment on column record_ledger.pipeline_progress.pipeline_id is 'The name of the pipeline.';
comment on column record_ledger.pipeline_progress.timezone is 'The IANA time zone of the pipeline.';
comment on column record_ledger.pipeline_progress.verdict is 'What a new run would be answered: READY, or the verdict that a pass would exit with.';
comment on column record_ledger.pipeline_progress.reason is 'One sentence that says why.';
comment on column record_ledger.pipeline_progress.ready_at is 'When the record that decides the verdict can be passed as things stand; null when a run or an operator must act first.';
comment on column record_ledger.pipeline_progress.oldest_valid_window is 'The start of the window that would be passed next; null when there is none.';
comment on column record_ledger.pipeline_progress.pending_count is 'How many stored records are PENDING, incomplete ones included.';
comment on column record_ledger.pipeline_progress.incomplete_count is 'How many stored records are PENDING and incomplete.';
comment on column record_ledger.pipeline_progress.in_progress_count is 'How many records are IN_PROGRESS.';
comment on column record_ledger.pipeline_progress.failed_count is 'How many records are FAILED.';
comment on column record_ledger.pipeline_progress.done_until is 'Every window before this instant is completed or waived.';
comment on column record_ledger.pipeline_progress.last_window_end_time is 'The end of the newest stored window; null when none is stored.';
comment on column record_ledger.pipeline_progress.next_window_start_time is 'Where the first window that is not stored yet starts.';
comment on column record_ledger.pipeline_progress.next_window_due_at is 'After this instant the next window is due to be stored.';
comment on column record_ledger.pipeline_progress.lag is 'How long ago the oldest window that is not done, stored or not, became stable; 0 when none is.';
comment on column record_ledger.pipeline_progress.at_risk_count is 'How many windows are open, or due and not stored yet, and lose their source data within at_risk_within.';
comment on column record_ledger.pipeline_progress.lost_count is 'How many records passes have waived as lost so far.';
