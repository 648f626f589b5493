-- record_ledger.note_filled: records that a caller filled a record where default_record leaves check_fields empty.
-- No other record of such a pipeline can be passed, so a pass starts its search at the first one that was filled.
-- register_config removes the mark when the fields change.
-- Called by: build_record, store_windows.
-- Uses: none.
-- Tests: test_outdated.py.
create or replace function record_ledger.note_filled(
    p record_ledger.pipeline, window_start_time timestamptz
)
returns void
language plpgsql
as $$
begin
    update record_ledger.pipeline as q
    set filled_from = note_filled.window_start_time
    where q.pipeline_id = p.pipeline_id
        and note_filled.window_start_time < coalesce(q.filled_from, 'infinity');
end
$$;
comment on function record_ledger.note_filled(record_ledger.pipeline, timestamptz) is
'Private. Records that a caller filled a record where default_record leaves check_fields empty.';
