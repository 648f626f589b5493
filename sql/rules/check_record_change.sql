-- record_ledger.check_record_change: the state machine, enforced on every update of a record, whoever makes it.
-- Refuses (RL003) what the diagram in README.md does not show, and appends the event of what it does.
-- Called by: the trigger of the same name on record.
-- Rules: the one list of legal changes is here.
create or replace function record_ledger.check_record_change()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_is_legal boolean;
begin
    if new.pipeline_id <> old.pipeline_id or new.window_start_time <> old.window_start_time
        or new.window_end_time <> old.window_end_time or new.target_day <> old.target_day
        or new.created_at <> old.created_at
        or (old.previous_window_end_time is not null
            and new.previous_window_end_time is distinct from old.previous_window_end_time)
    then
        raise exception 'illegal change: the window % of pipeline % is stored and never moves',
            old.window_start_time, old.pipeline_id using errcode = 'RL003';
    end if;

    -- A heartbeat, a new judgement of what is missing or a relinked first window is no event.
    if new.status = old.status and new.claim_token is not distinct from old.claim_token
        and new.generation = old.generation and new.attempt = old.attempt
        and new.fields = old.fields and new.event_count = old.event_count
        and new.run_id is not distinct from old.run_id
        and new.retry_at is not distinct from old.retry_at
        and new.last_event is not distinct from old.last_event
        and new.last_detail is not distinct from old.last_detail
        and new.updated_at = old.updated_at
        and (new.lease_expires_at is null) = (old.lease_expires_at is null)
    then
        new.lane := record_ledger.lane(
            new.status, new.missing_fields, new.awaits_build, new.event_count, new.out_of_order
        );
        new.open_pipeline_id := case when new.lane is not null then new.pipeline_id end;
        return new;
    end if;

    v_is_legal := new.event_count = old.event_count and case new.last_event
        when 'passed' then
            old.status = 'PENDING' and new.status = 'IN_PROGRESS'
            and new.generation = old.generation and new.attempt = old.attempt + 1
        when 'passed_again' then
            old.status = 'IN_PROGRESS' and new.status = 'IN_PROGRESS'
            and new.claim_token > old.claim_token
            and new.run_id is not distinct from old.run_id
            and new.generation = old.generation and new.attempt = old.attempt
        when 'completed' then
            old.status = 'IN_PROGRESS' and new.status = 'COMPLETED'
            and new.claim_token = old.claim_token
            and new.generation = old.generation and new.attempt = old.attempt
        when 'failed' then
            old.status = 'IN_PROGRESS' and new.status in ('PENDING', 'FAILED')
            and new.generation = old.generation and new.attempt = old.attempt
        when 'lease_expired' then
            old.status = 'IN_PROGRESS' and new.status in ('PENDING', 'FAILED')
            and new.generation = old.generation and new.attempt = old.attempt
        when 'released' then
            old.status = 'IN_PROGRESS' and new.status = 'PENDING'
            and new.generation = old.generation and new.attempt = old.attempt - 1
        when 'waived' then
            old.status in ('PENDING', 'FAILED') and new.status = 'WAIVED'
            and new.generation = old.generation and new.attempt = old.attempt
        when 'reopened' then
            old.status in ('COMPLETED', 'FAILED', 'WAIVED') and new.status = 'PENDING'
            and new.generation = old.generation + 1 and new.attempt = 0
        when 'rebuilt' then
            old.status = 'PENDING' and new.status = 'PENDING'
            and new.generation = old.generation and new.attempt = old.attempt
        else false
    end
    and (new.fields = old.fields or new.last_event = 'rebuilt')
    -- What each status needs: a claim with a lease while in progress, neither while pending.
    and (new.status = 'IN_PROGRESS') = (new.lease_expires_at is not null)
    and (new.status <> 'IN_PROGRESS' or new.claim_token is not null)
    and (new.status <> 'PENDING' or (new.claim_token is null and new.run_id is null))
    and (new.status = 'PENDING' or new.retry_at is null);
    if v_is_legal is not true then
        raise exception 'illegal change of the record % of pipeline %: % from % to %',
            old.window_start_time,
            old.pipeline_id,
            coalesce(new.last_event, 'no event'),
            old.status,
            new.status
            using errcode = 'RL003',
            hint = 'Use the routines of schema record_ledger; '
                'sql/README.md shows the legal changes.';
    end if;

    -- A pass takes its time after its lock, and may then wait for a record that is released at a later one.
    new.updated_at := greatest(new.updated_at, old.updated_at);
    new.event_count := old.event_count + 1;
    new.lane := record_ledger.lane(
        new.status, new.missing_fields, new.awaits_build, new.event_count, new.out_of_order
    );
    new.open_pipeline_id := case when new.lane is not null then new.pipeline_id end;
    insert into record_ledger.record_event (
        pipeline_id,
        window_start_time,
        event_no,
        event_time,
        event,
        from_status,
        to_status,
        generation,
        attempt,
        claim_token,
        run_id,
        detail
    )
    values (
        new.pipeline_id,
        new.window_start_time,
        new.event_count,
        new.updated_at,
        new.last_event,
        old.status,
        new.status,
        new.generation,
        -- A released attempt is not counted, but it is the one that was released.
        case when new.last_event = 'released' then old.attempt else new.attempt end,
        coalesce(new.claim_token, old.claim_token),
        coalesce(new.run_id, old.run_id),
        coalesce(new.last_detail, '{}')
    );
    return new;
end
$$;
comment on function record_ledger.check_record_change() is
'Private. Trigger: refuses illegal changes of a record (RL003) and appends the event of each legal one.';

-- Only when it is missing: creating a trigger waits for every writer of the table, and a deploy should not.
do $$
begin
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'record_ledger.record'::regclass and t.tgname = 'check_record_change'
    ) then
        create trigger check_record_change before update on record_ledger.record
        for each row execute function record_ledger.check_record_change();
    end if;
end
$$;
