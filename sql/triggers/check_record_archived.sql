-- record_ledger.check_record_archived: a record is deleted only when the archive has the same row.
-- It judges by what the tables hold: no setting lets a role delete. Refuses with RL003.
-- It fires before each row, so that its error comes before the foreign key's.
-- Called by: its own trigger.
-- Uses: none.
-- Tests: test_archive_refusals.py.
create or replace function record_ledger.check_record_archived()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (
        select
        from record_ledger.archived_record as a
        where a.pipeline_id = old.pipeline_id
            and a.window_start_time = old.window_start_time
            and (
                a.window_end_time, a.target_day, a.status, a.generation, a.attempt, a.claim_token,
                a.run_id, a.fields, a.config_version, a.missing_fields, a.is_historical,
                a.event_count, a.last_event, a.last_detail, a.created_at, a.updated_at,
                a.counts_waived
            ) is not distinct from (
                old.window_end_time, old.target_day, old.status, old.generation, old.attempt,
                old.claim_token, old.run_id, old.fields, old.config_version, old.missing_fields,
                old.is_historical, old.event_count, old.last_event, old.last_detail, old.created_at,
                old.updated_at, old.counts_waived
            )
    ) then
        raise exception
            'illegal change: delete of record_ledger.record is refused, '
            'the archive does not have the record % of pipeline %',
            old.window_start_time, old.pipeline_id
            using errcode = 'RL003',
            hint = 'archive_records(pipeline_id, before) moves finished records to the archive.';
    end if;
    return old;
end
$$;
comment on function record_ledger.check_record_archived() is
'Private. Trigger: refuses (RL003) to delete a record that the archive does not have.';

-- Only when it is missing: creating a trigger waits for every writer of the table, and a deploy should not.
do $$
begin
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'record_ledger.record'::regclass and t.tgname = 'check_record_archived'
    ) then
        create trigger check_record_archived before delete on record_ledger.record
        for each row execute function record_ledger.check_record_archived();
    end if;
end
$$;
