-- record_ledger.check_kept_columns: the columns of a record that a pass and a completion must not change.
-- It fires only for updates that name one of these columns. Nearly all updates are passes and completions that name
-- none, and pay nothing. check_record_change checks these columns for all other changes.
-- Its name makes it fire before check_record_change, which writes some of them.
-- Called by: its own trigger.
-- Uses: none.
-- Tests: test_state_machine.py.
create or replace function record_ledger.check_kept_columns()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if (
        new.last_event = 'passed' and old.status = 'PENDING'
        or new.last_event = 'completed' and old.status = 'IN_PROGRESS'
    ) and (
        new.pipeline_id,
        new.window_start_time,
        new.window_end_time,
        new.target_day,
        new.created_at,
        new.previous_window_start_time,
        new.event_count,
        new.generation,
        new.fields,
        new.is_historical,
        new.counts_waived,
        new.open_pipeline_id
    ) is distinct from (
        old.pipeline_id,
        old.window_start_time,
        old.window_end_time,
        old.target_day,
        old.created_at,
        old.previous_window_start_time,
        old.event_count,
        old.generation,
        old.fields,
        old.is_historical,
        old.counts_waived,
        old.open_pipeline_id
    ) then
        raise exception 'illegal change of the record % of pipeline %: % from % to %',
            old.window_start_time,
            old.pipeline_id,
            new.last_event,
            old.status,
            new.status
            using errcode = 'RL003',
            hint = 'Use the routines of schema record_ledger; '
                'sql/README.md shows the legal changes.';
    end if;
    return new;
end
$$;
comment on function record_ledger.check_kept_columns() is
'Private. Trigger: refuses passes and completions of a record that change what they must keep (RL003).';

do $$
begin
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'record_ledger.record'::regclass and t.tgname = 'check_kept_columns'
    ) then
        create trigger check_kept_columns before update of
        pipeline_id,
        window_start_time,
        window_end_time,
        target_day,
        created_at,
        previous_window_start_time,
        event_count,
        generation,
        fields,
        is_historical,
        counts_waived,
        open_pipeline_id
        on record_ledger.record
        for each row execute function record_ledger.check_kept_columns();
    end if;
end
$$;
