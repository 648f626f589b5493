-- pipeline_status: where each pipeline stands, one row per pipeline.
-- The ledger has the facts and the rules. This view converts them and compares them with thresholds.
{{ record_ledger.refuse_ledger_schema() }}
select
    progress.pipeline_id,
    progress.timezone,
    progress.verdict,
    progress.reason,
    progress.ready_at,
    progress.oldest_valid_window,
    progress.pending_count as backlog_count,
    progress.incomplete_count,
    progress.in_progress_count,
    progress.failed_count,
    progress.at_risk_count,
    progress.lost_count,
    progress.done_until,
    progress.last_window_end_time,
    progress.next_window_start_time,
    progress.next_window_due_at,
    progress.lag,
    (extract(epoch from progress.lag) / 3600::numeric)::double precision as lag_hours,
    progress.lag > pg_catalog.make_interval(
        secs => 3600::double precision * ({{ var('behind_after_hours') }})::double precision
    ) as is_behind,
    -- A last attempt whose lease has expired has failed, though no pass has recorded that yet.
    progress.failed_count > 0 or progress.verdict = 'FAILED' as is_failing,
    pipelines.paused_at is not null as is_paused,
    pipelines.paused_at,
    pipelines.paused_by,
    pipelines.pause_reason
-- Not CTEs: with CTEs, a query for one pipeline would judge all of them.
from (select * from {{ source('record_ledger', 'pipeline_progress') }}) as progress
join (select * from {{ source('record_ledger', 'pipelines') }}) as pipelines
    on pipelines.pipeline_id = progress.pipeline_id
