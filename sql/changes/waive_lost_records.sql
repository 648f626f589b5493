-- record_ledger.waive_lost_records: waives records of a locked pipeline whose source data is gone, at most 1,000.
-- No run could process them: they become WAIVED with the reason 'lost', and the pipeline's history says how many.
-- Further ones wait for the next pass, and passes skip them until then. Records in progress stay with their runs.
-- Called by: pass_record.
-- Uses: append_pipeline_event, incomplete_lanes, local_time.
-- Tests: test_retention.py.
create or replace function record_ledger.waive_lost_records(
    p record_ledger.pipeline, lost_before timestamptz, as_of timestamptz
)
returns void
language plpgsql
as $$
#variable_conflict use_column
declare
    v_lost record;
    v_lanes constant text[] := array[
        'failed', 'historical', 'retry', 'retryh', 'returned', 'waiting'
    ] || array(
        select l.lane from record_ledger.incomplete_lanes(p.pipeline_id) as l (lane)
    );
begin
    with waived as (
        update record_ledger.record as r
        set retry_at = null,
            postponement = null,
            last_event = 'waived',
            last_detail = jsonb_build_object(
                'reason', 'lost',
                'source_kept_until', record_ledger.local_time(
                    r.window_end_time + p.source_retention, p.timezone
                )
            ),
            updated_at = as_of
        from (
            select o.window_start_time
            from record_ledger.record as o
            where o.open_pipeline_id = p.pipeline_id
                and o.lane = any (v_lanes)
                and o.window_start_time < waive_lost_records.lost_before
            limit 1000
        ) as l
        where r.pipeline_id = p.pipeline_id and r.window_start_time = l.window_start_time
        returning r.window_start_time, r.window_end_time
    )

    select
        count(*) as record_count,
        min(w.window_start_time) as from_time,
        max(w.window_end_time) as to_time
    into v_lost
    from waived as w;
    perform record_ledger.append_pipeline_event(
        p.pipeline_id,
        'lost',
        jsonb_build_object(
            'count', v_lost.record_count,
            'from_time', record_ledger.local_time(v_lost.from_time, p.timezone),
            'to_time', record_ledger.local_time(v_lost.to_time, p.timezone)
        ),
        as_of
    );
end
$$;
comment on function record_ledger.waive_lost_records(
    record_ledger.pipeline, timestamptz, timestamptz
) is
'Private. Waives records of a locked pipeline whose source data is gone, at most 1,000, with the reason ''lost''.';
