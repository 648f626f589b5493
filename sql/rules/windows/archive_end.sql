-- record_ledger.archive_end: where the archive of a pipeline ends; null when nothing is archived.
-- The first record that is not archived starts exactly there, so no window can ever be added before it.
-- Called by: archivable_records, check_backfill.
-- Uses: none.
-- Tests: test_archive.py, test_backfill.py.
create or replace function record_ledger.archive_end(pipeline_id text)
returns timestamptz
language sql
stable
-- One look-up in the index of each year, however many rows it has.
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
    select a.window_end_time
    from record_ledger.archived_record as a
    where a.pipeline_id = archive_end.pipeline_id
    order by a.window_start_time desc
    limit 1
$$;
comment on function record_ledger.archive_end(text) is
'Private. The end of the newest archived window of a pipeline; null when nothing is archived.';
