-- record_ledger.archive_records: moves a pipeline's oldest finished records, with their events and counts, to the
-- archive.
-- It takes the records whose window ends at or before an instant, oldest first, up to the first open record. The newest
-- record stays, and so does every claim: a run keeps its record, and a token keeps its window. Returns how many it
-- moved; call it until it returns 0.
-- check_record_archived guards the deletes.
-- Called by: record_ledger_runner, the Python runner.
-- Uses: append_pipeline_event, archivable_records, clock, create_archive_partitions, local_time, lock_pipeline.
-- Tests: test_archive.py, test_archive_refusals.py, test_archive_sessions.py, test_archive_plans.py.
create or replace function record_ledger.archive_records(
    pipeline_id text, before timestamptz, max_records integer default 100000
)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    -- Against another archiver, and against operators who add windows before the first one or reopen these records.
    p record_ledger.pipeline := record_ledger.lock_pipeline(pipeline_id);
    v_now timestamptz := record_ledger.clock();
    v_part record;
begin
    if max_records is null then
        raise exception 'max_records: null is not a number; give how many records may be moved'
            using errcode = 'RL005';
    end if;
    v_part := record_ledger.archivable_records(p.pipeline_id, before, max_records);
    if v_part.record_count = 0 then
        return 0;
    end if;
    perform record_ledger.create_archive_partitions(
        v_part.first_window_start_time, v_part.last_window_start_time
    );
    insert into record_ledger.archived_record (
        window_start_time,
        window_end_time,
        created_at,
        updated_at,
        archived_at,
        claim_token,
        target_day,
        generation,
        attempt,
        config_version,
        event_count,
        is_historical,
        pipeline_id,
        status,
        run_id,
        fields,
        missing_fields,
        last_event,
        last_detail,
        counts_waived
    )
    select
        r.window_start_time,
        r.window_end_time,
        r.created_at,
        r.updated_at,
        v_now,
        r.claim_token,
        r.target_day,
        r.generation,
        r.attempt,
        r.config_version,
        r.event_count,
        r.is_historical,
        r.pipeline_id,
        r.status,
        r.run_id,
        r.fields,
        r.missing_fields,
        r.last_event,
        r.last_detail,
        r.counts_waived
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id
        and r.window_start_time >= v_part.first_window_start_time
        and r.window_start_time <= v_part.last_window_start_time
    order by r.window_start_time;
    insert into record_ledger.archived_record_event (
        window_start_time,
        event_time,
        claim_token,
        event_no,
        generation,
        attempt,
        pipeline_id,
        event,
        from_status,
        to_status,
        run_id,
        actor,
        detail
    )
    select
        e.window_start_time,
        e.event_time,
        e.claim_token,
        e.event_no,
        e.generation,
        e.attempt,
        e.pipeline_id,
        e.event,
        e.from_status,
        e.to_status,
        e.run_id,
        e.actor,
        e.detail
    from record_ledger.record_event as e
    where e.pipeline_id = p.pipeline_id
        and e.window_start_time >= v_part.first_window_start_time
        and e.window_start_time <= v_part.last_window_start_time
    order by e.window_start_time, e.event_no;

    -- The triggers compare the deleted rows with those in the archive: they refuse a row that another session changed
    -- or added meanwhile, and all of the call is undone.
    delete from record_ledger.record_event as e
    where e.pipeline_id = p.pipeline_id
        and e.window_start_time >= v_part.first_window_start_time
        and e.window_start_time <= v_part.last_window_start_time;
    -- A run may be ending its claim on the first record that stays: wait for it here, not within the next statement.
    perform
    from record_ledger.record as r
    where r.pipeline_id = p.pipeline_id and r.window_start_time = v_part.archived_until
    for no key update;
    -- In one statement: a record cannot lose its predecessor earlier, and the chain has exactly one beginning.
    with gone as (
        delete from record_ledger.record as r
        where r.pipeline_id = p.pipeline_id
            and r.window_start_time >= v_part.first_window_start_time
            and r.window_start_time <= v_part.last_window_start_time
        returning r.window_start_time
    )
    update record_ledger.record as r
    set previous_window_start_time = null
    from (select max(g.window_start_time) as window_start_time from gone as g) as last
    where r.pipeline_id = p.pipeline_id
        and r.window_start_time = v_part.archived_until
        and r.previous_window_start_time = last.window_start_time;
    -- A run that was counting one of them has committed by now, and the next one finds no record: no count stays
    -- behind.
    insert into record_ledger.archived_record_observation
    select o.*
    from record_ledger.record_observation as o
    where o.pipeline_id = p.pipeline_id
        and o.window_start_time >= v_part.first_window_start_time
        and o.window_start_time <= v_part.last_window_start_time
    order by o.window_start_time, o.observation_no;
    delete from record_ledger.record_observation as o
    where o.pipeline_id = p.pipeline_id
        and o.window_start_time >= v_part.first_window_start_time
        and o.window_start_time <= v_part.last_window_start_time;

    perform record_ledger.append_pipeline_event(
        p.pipeline_id,
        'archived',
        jsonb_build_object(
            'count', v_part.record_count,
            'until', record_ledger.local_time(v_part.archived_until, p.timezone),
            'before', record_ledger.local_time(before, p.timezone)
        ),
        v_now
    );
    return v_part.record_count;
end
$$;
comment on function record_ledger.archive_records(text, timestamptz, integer) is
'Moves the oldest finished records whose window ends at or before an instant to the archive, with their events and observations; returns how many.';
