-- record_ledger.note_filled: notes that a record was filled by a caller where default_record leaves check_fields empty.
-- No other record of such a pipeline can be passed, so passes look for one from the first that was filled on.
-- register_config forgets it when the fields change.
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
'Private. Notes that a record was filled by a caller where default_record leaves check_fields empty.';
