-- record_ledger.refuse_change: history is only ever appended, and pipelines are never deleted.
-- Each role that tries gets RL003, the owner of the tables included. Its triggers are on all ledger tables: for
-- truncates, and for updates and deletes where rows are append-only. check_record_archived, check_events_archived and
-- check_observations_archived judge the deletes of rows that go to the archive.
-- Called by: its own triggers, create_archive_partitions.
-- Uses: none.
-- Tests: test_state_machine.py, test_archive_refusals.py.
create or replace function record_ledger.refuse_change()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'illegal change: % of %.% is refused, the ledger keeps its history',
        lower(tg_op), tg_table_schema, tg_table_name using errcode = 'RL003';
end
$$;
comment on function record_ledger.refuse_change() is
'Private. Trigger: refuses to delete or rewrite history (RL003).';

do $$
declare
    v_table text;
    v_changes text;
begin
    for v_table, v_changes in
        values
            ('pipeline', 'delete'),
            ('pipeline_event', 'update or delete'),
            ('record', null),
            ('record_event', 'update'),
            ('record_observation', 'update'),
            ('claim', 'update or delete'),
            -- Partitions take this trigger from their table; create_archive_partitions gives them the other one.
            ('archived_record', 'update or delete'),
            ('archived_record_event', 'update or delete'),
            ('archived_record_observation', 'update or delete')
    loop
        if v_changes is not null and not exists (
            select
            from pg_catalog.pg_trigger as t
            where t.tgrelid = format('record_ledger.%I', v_table)::regclass
                and t.tgname = 'refuse_change'
        ) then
            execute format(
                'create trigger refuse_change before %s on record_ledger.%I '
                'for each row execute function record_ledger.refuse_change()',
                v_changes, v_table
            );
        end if;
        if not exists (
            select
            from pg_catalog.pg_trigger as t
            where t.tgrelid = format('record_ledger.%I', v_table)::regclass
                and t.tgname = 'refuse_truncate'
        ) then
            execute format(
                'create trigger refuse_truncate before truncate on record_ledger.%I '
                'for each statement execute function record_ledger.refuse_change()', v_table
            );
        end if;
    end loop;
end
$$;
