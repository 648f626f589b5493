-- record_ledger.append_pipeline_event: records a change of a pipeline as a whole, with its role and time.
-- Events are numbered per pipeline, so the caller holds the lock of its row.
-- Called by: archive_records, backfill_range, pause_pipeline, register_config, reopen_changed_records, resume_pipeline,
--   retire_pipeline, set_pipeline_owner, waive_lost_records.
-- Uses: none.
-- Tests: test_registering.py, test_pausing.py.
create or replace function record_ledger.append_pipeline_event(
    pipeline_id text, event text, detail jsonb, event_time timestamptz
)
returns void
language plpgsql
as $$
#variable_conflict use_column
begin
    insert into record_ledger.pipeline_event (pipeline_id, event_no, event_time, event, detail)
    select
        append_pipeline_event.pipeline_id,
        coalesce(max(e.event_no), 0) + 1,
        append_pipeline_event.event_time,
        append_pipeline_event.event,
        append_pipeline_event.detail
    from record_ledger.pipeline_event as e
    where e.pipeline_id = append_pipeline_event.pipeline_id;
end
$$;
comment on function record_ledger.append_pipeline_event(text, text, jsonb, timestamptz) is
'Private. Records a change of a pipeline as a whole, with its role and time.';
