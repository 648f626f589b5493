-- record_ledger.check_bounds: a window ends after it starts.
-- It is a trigger and not a check constraint: PostgreSQL reads a constraint's text again in every statement, updates
-- included. This trigger fires only for the insert of a window that breaks the rule. check_record_change keeps the
-- stored bounds.
-- Called by: its own trigger.
-- Uses: none.
-- Tests: test_windows_stored.py.
create or replace function record_ledger.check_bounds()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'illegal window: % of pipeline % ends at %, which is not after its start',
        new.window_start_time, new.pipeline_id, new.window_end_time
        using errcode = 'check_violation', constraint = 'window_ends_after_it_starts';
end
$$;
comment on function record_ledger.check_bounds() is
'Private. Trigger: refuses a window that does not end after its start.';

do $$
begin
    if not exists (
        select from pg_catalog.pg_trigger as t
        where t.tgrelid = 'record_ledger.record'::regclass and t.tgname = 'check_bounds'
    ) then
        create trigger check_bounds before insert on record_ledger.record
        for each row when (new.window_end_time <= new.window_start_time)
        execute function record_ledger.check_bounds();
    end if;
end
$$;
