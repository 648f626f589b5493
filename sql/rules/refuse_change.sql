-- record_ledger.refuse_change: history is only ever appended, and records and pipelines are never deleted.
-- Whoever tries gets RL003, the owner of the tables included.
-- Called by: triggers on all ledger tables, for deletes and truncates, and for updates where rows are append-only.
-- Rules: none.
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
begin
    foreach v_table in array array[
        'pipeline',
        'pipeline_event',
        'record',
        'record_event',
        'claim'
    ] loop
        if not exists (
            select
            from pg_catalog.pg_trigger as t
            where t.tgrelid = format('record_ledger.%I', v_table)::regclass
                and t.tgname = 'refuse_change'
        ) then
            execute format(
                'create trigger refuse_change before %s on record_ledger.%I '
                'for each row execute function record_ledger.refuse_change()',
                case
                    when v_table in ('pipeline', 'record') then 'delete'
                    else 'update or delete'
                end,
                v_table
            );
            execute format(
                'create trigger refuse_truncate before truncate on record_ledger.%I '
                'for each statement execute function record_ledger.refuse_change()', v_table
            );
        end if;
    end loop;
end
$$;
