-- record_ledger.check_record_change: the state machine, on every update of a record, whoever makes it.
-- A change names its event (last_event); the status that follows is written here, the event appended, and whatever the
-- diagram in README.md does not show is refused (RL003), or RL007 where it is the counts that keep it from completion.
-- The one list of legal changes is here, but for what check_kept_columns keeps.
-- Called by: its own trigger.
-- Uses: check_counts, lane, void_marks.
-- Tests: test_state_machine.py.
create or replace function record_ledger.check_record_change()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_is_event boolean;
    v_is_legal boolean;
    v_status text;
    -- Of the event; null: that of the record.
    v_attempt integer;
begin
    -- Small expressions on purpose: a session sets up each of them anew in every transaction that comes to it.
    -- Nearly all changes are these two. What they must keep besides is said in check_kept_columns, which an update that
    -- names no such column does not pay for.
    if new.last_event = 'passed' then
        if old.status = 'PENDING' and new.status = 'PENDING' and new.attempt = old.attempt + 1
            and new.claim_token is not null and new.lease_expires_at is not null
            and new.retry_at is null
            and coalesce(new.cancellation, new.postponement) is null
        then
            v_status := 'IN_PROGRESS';
            new.lane := 'active';
        end if;
    elsif new.last_event = 'completed' then
        if old.status = 'IN_PROGRESS' and not old.needs_counts
            and new.status = 'IN_PROGRESS' and new.claim_token = old.claim_token
            and new.attempt = old.attempt and new.lease_expires_at is null
            and new.retry_at is null
            and (new.is_first, new.is_alone) = (old.is_first, old.is_alone)
            and coalesce(new.cancellation, new.postponement) is null
        then
            v_status := 'COMPLETED';
            new.lane := null;
            new.open_pipeline_id := null;
        end if;
    end if;
    if v_status is null then
        if new.pipeline_id <> old.pipeline_id or new.window_start_time <> old.window_start_time
            or new.window_end_time <> old.window_end_time or new.target_day <> old.target_day
            or new.created_at <> old.created_at
        then
            raise exception 'illegal change: the window % of pipeline % is stored and never moves',
                old.window_start_time, old.pipeline_id using errcode = 'RL003';
        end if;

        v_is_event := new.status <> old.status
            or new.last_event is distinct from old.last_event
            or new.claim_token is distinct from old.claim_token
            or new.last_detail is distinct from old.last_detail;
        if not v_is_event then
            -- A heartbeat, a link, or built anew with the same fields: no event, so nothing else may differ.
            v_is_legal := new.generation = old.generation and new.attempt = old.attempt
                and new.fields = old.fields and new.event_count = old.event_count
                and new.run_id is not distinct from old.run_id
                and new.retry_at is not distinct from old.retry_at
                and new.updated_at = old.updated_at
                and (new.lease_expires_at is null) = (old.lease_expires_at is null)
                and new.cancellation is not distinct from old.cancellation
                and new.postponement is not distinct from old.postponement
                and new.is_historical = old.is_historical
                and new.is_first = old.is_first and new.is_alone = old.is_alone
                and new.counts_waived = old.counts_waived and new.needs_counts >= old.needs_counts;
            -- A record is linked anew only while none is before it (the schema then checks the link), or none any more.
            if new.previous_window_start_time is distinct from old.previous_window_start_time
                and exists (
                    select
                    from record_ledger.record as r
                    where r.pipeline_id = old.pipeline_id
                        and r.window_start_time = old.previous_window_start_time
                )
            then
                v_is_legal := false;
            end if;
        else
            case new.last_event
                when 'passed' then
                    v_status := 'IN_PROGRESS';
                    v_is_legal := old.status = 'PENDING' and new.attempt = old.attempt + 1;
                when 'completed' then
                    v_status := 'COMPLETED';
                    -- The counts come last: they are looked up only where the config asks for any.
                    v_is_legal := old.status = 'IN_PROGRESS' and new.claim_token = old.claim_token
                        and (not old.needs_counts or record_ledger.check_counts(old));
                when 'passed_again' then
                    v_status := 'IN_PROGRESS';
                    v_is_legal := old.status = 'IN_PROGRESS' and old.cancellation is null
                        and new.claim_token > old.claim_token
                        and new.run_id is not distinct from old.run_id;
                when 'failed', 'lease_expired', 'released' then
                    v_is_legal := old.status = 'IN_PROGRESS'
                        and new.attempt = old.attempt - (new.last_event = 'released')::integer;
                    -- A released attempt is not counted, but it is the one that was released.
                    v_attempt := case new.last_event when 'released' then old.attempt end;
                    if old.cancellation is not null then
                        -- However the run ends it, or does not: no run is passed a cancelled record again.
                        v_status := 'FAILED';
                        new.claim_token := old.claim_token;
                        new.run_id := old.run_id;
                        new.retry_at := null;
                        new.postponement := null;
                        new.last_detail := coalesce(new.last_detail, '{}') || old.cancellation;
                    elsif new.retry_at is null and new.last_event <> 'released' then
                        -- With a time to try again there is an attempt left.
                        v_status := 'FAILED';
                    else
                        v_status := 'PENDING';
                    end if;
                when 'cancelled' then
                    v_status := 'IN_PROGRESS';
                    v_is_legal := old.status = 'IN_PROGRESS' and old.cancellation is null
                        and new.cancellation ?& array[
                            'cancelled_by', 'cancelled_at', 'cancel_reason'
                        ]
                        and new.claim_token = old.claim_token
                        and new.run_id is not distinct from old.run_id;
                when 'waived' then
                    v_status := 'WAIVED';
                    v_is_legal := old.status in ('PENDING', 'FAILED');
                when 'reopened' then
                    v_status := 'PENDING';
                    new.is_historical := true;
                    new.counts_waived := false;
                    v_is_legal := old.status in ('COMPLETED', 'FAILED', 'WAIVED')
                        and new.attempt = 0;
                when 'rebuilt' then
                    v_status := 'PENDING';
                    v_is_legal := old.status = 'PENDING'
                        and new.postponement is not distinct from old.postponement;
                when 'counts_waived' then
                    v_status := old.status;
                    new.counts_waived := true;
                    v_is_legal := old.status in ('PENDING', 'IN_PROGRESS') and not old.counts_waived
                        and new.claim_token is not distinct from old.claim_token
                        and new.run_id is not distinct from old.run_id
                        and new.retry_at is not distinct from old.retry_at
                        and new.cancellation is not distinct from old.cancellation
                        and new.postponement is not distinct from old.postponement;
                else
                    v_is_legal := false;
            end case;
            -- The one place that writes a status; whoever writes another one is refused.
            v_is_legal := v_is_legal and new.status in (old.status, v_status);
            new.status := coalesce(v_status, new.status);
            -- What each status needs: a claim with a lease while in progress, neither while pending.
            v_is_legal := v_is_legal
                and new.event_count = old.event_count
                and new.generation = old.generation + (new.last_event = 'reopened')::integer
                and (
                    new.attempt = old.attempt
                    or new.last_event in ('passed', 'released', 'reopened')
                )
                and new.is_historical = (old.is_historical or new.last_event = 'reopened')
                and (
                    new.is_first = old.is_first and new.is_alone = old.is_alone
                    or new.last_event in ('passed', 'passed_again')
                )
                and (new.fields = old.fields or new.last_event = 'rebuilt')
                and (
                    new.counts_waived = old.counts_waived
                    or new.last_event in ('counts_waived', 'reopened')
                )
                -- Only a pass, which has the config at hand, finds that no counts are needed.
                and (new.needs_counts >= old.needs_counts or v_status = 'IN_PROGRESS')
                and new.previous_window_start_time
                    is not distinct from old.previous_window_start_time
                and (v_status = 'IN_PROGRESS') = (new.lease_expires_at is not null)
                and (v_status <> 'IN_PROGRESS' or new.claim_token is not null)
                and (v_status <> 'PENDING' or (new.claim_token is null and new.run_id is null))
                and (v_status = 'PENDING' or new.retry_at is null);
            -- A cancellation is of a record in progress, a postponement of one that waits.
            if new.cancellation is not null or new.postponement is not null then
                v_is_legal := v_is_legal
                    and (
                        new.cancellation is null
                        or new.last_event = 'cancelled'
                        or v_status = 'IN_PROGRESS' and new.cancellation = old.cancellation
                    )
                    and (
                        new.postponement is null
                        or v_status = 'PENDING' and new.retry_at is not null
                    );
            end if;
        end if;
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

        new.lane := record_ledger.lane(
            new.status,
            new.missing_fields,
            new.config_version,
            -- Once out of the lane 'waiting', whose mark may have gone by it, a record does not come back to it.
            old.lane = 'waiting',
            new.is_historical,
            new.retry_at
        );
        -- Claims note where lanes begin and before which instant no lease ends. What ends a claim keeps that true.
        if (
            new.lane is distinct from old.lane and old.lane is distinct from 'active'
            and new.lane in ('historical', 'retry', 'retryh', 'returned', 'waiting')
            or new.lease_expires_at < old.lease_expires_at
        ) and (
            -- Only reopenings are done for all at once: any session can have that setting.
            old.status in ('PENDING', 'IN_PROGRESS')
            or current_setting('record_ledger.voids_marks', true) is distinct from 'on'
        ) then
            perform record_ledger.void_marks(new.pipeline_id);
        end if;
        new.open_pipeline_id := case when new.lane is not null then new.pipeline_id end;
        if not v_is_event then
            return new;
        end if;
    end if;
    new.status := v_status;
    new.event_count := old.event_count + 1;
    -- A pass takes its time after its lock, and may then wait for a record that is released at a later one.
    new.updated_at := greatest(new.updated_at, old.updated_at);
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
        v_status,
        new.generation,
        coalesce(v_attempt, new.attempt),
        coalesce(new.claim_token, old.claim_token),
        coalesce(new.run_id, old.run_id),
        coalesce(new.last_detail, '{}')
    );
    return new;
end
$$;
comment on function record_ledger.check_record_change() is
'Private. Trigger: refuses illegal changes of a record (RL003, RL007) and appends the event of each legal one.';

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
