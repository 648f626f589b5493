-- record_ledger.check_events_archived: events are deleted only when the archive has the same rows.
-- It judges by what the tables hold: no setting lets a role delete. Refuses with RL003.
-- It fires once per statement: a check of each row takes three times as long.
-- Called by: its own trigger.
-- Uses: none.
-- Tests: test_archive_refusals.py.
create or replace function record_ledger.check_events_archived()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
-- One look-up by key for each event, however large the archive is.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    v_event record_ledger.record_event;
begin
    select g.* into v_event
    from gone as g
    where not exists (
        select
        from record_ledger.archived_record_event as a
        where a.pipeline_id = g.pipeline_id and a.window_start_time = g.window_start_time
            and a.event_no = g.event_no
            and (
                a.event_time, a.event, a.from_status, a.to_status, a.generation, a.attempt,
                a.claim_token, a.run_id, a.actor, a.detail
            ) is not distinct from (
                g.event_time, g.event, g.from_status, g.to_status, g.generation, g.attempt,
                g.claim_token, g.run_id, g.actor, g.detail
            )
    )
    limit 1;
    if found then
        raise exception
            'illegal change: delete of record_ledger.record_event is refused, '
            'the archive does not have event % of the record % of pipeline %',
            v_event.event_no, v_event.window_start_time, v_event.pipeline_id
            using errcode = 'RL003',
            hint = 'archive_records(pipeline_id, before) moves finished records to the archive.';
    end if;
    return null;
end
$$;
comment on function record_ledger.check_events_archived() is
'Private. Trigger: refuses (RL003) to delete events that the archive does not have.';

-- Only when it is missing: creating a trigger waits for every writer of the table, and a deploy should not.
do $$
begin
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'record_ledger.record_event'::regclass
            and t.tgname = 'check_events_archived'
    ) then
        create trigger check_events_archived after delete on record_ledger.record_event
        referencing old table as gone
        for each statement execute function record_ledger.check_events_archived();
    end if;
end
$$;
