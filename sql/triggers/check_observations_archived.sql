-- record_ledger.check_observations_archived: observations are deleted only when the archive has the same rows.
-- It judges by what the tables hold: no setting lets a role delete. Refuses with RL003. It fires once per statement.
-- Called by: its own trigger.
-- Uses: none.
-- Tests: test_archive_refusals.py.
create or replace function record_ledger.check_observations_archived()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
-- One look-up by key for each observation, however large the archive is.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    v_observation record_ledger.record_observation;
begin
    select g.* into v_observation
    from gone as g
    where not exists (
        select
        from record_ledger.archived_record_observation as a
        where a.pipeline_id = g.pipeline_id and a.window_start_time = g.window_start_time
            and a.observation_no = g.observation_no
            and row(a.*) is not distinct from row(g.*)
    )
    limit 1;
    if found then
        raise exception
            'illegal change: delete of record_ledger.record_observation is refused, '
            'the archive does not have observation % of the record % of pipeline %',
            v_observation.observation_no,
            v_observation.window_start_time,
            v_observation.pipeline_id
            using errcode = 'RL003',
            hint = 'archive_records(pipeline_id, before) moves finished records to the archive.';
    end if;
    return null;
end
$$;
comment on function record_ledger.check_observations_archived() is
'Private. Trigger: refuses (RL003) to delete observations that the archive does not have.';

-- Only when it is missing: creating a trigger waits for every writer of the table, and a deploy should not.
do $$
begin
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'record_ledger.record_observation'::regclass
            and t.tgname = 'check_observations_archived'
    ) then
        create trigger check_observations_archived after delete on record_ledger.record_observation
        referencing old table as gone
        for each statement execute function record_ledger.check_observations_archived();
    end if;
end
$$;
