-- record_ledger.create_archive_partitions: creates the archive's partitions for the windows between two instants.
-- Each archive table has one partition per year (UTC); existing ones stay. It blocks no reader and no other writer.
-- Called by: archive_records.
-- Uses: refuse_change.
-- Tests: test_archive.py, test_archive_sessions.py.
create or replace function record_ledger.create_archive_partitions(
    first_start timestamptz, last_start timestamptz
)
returns void
language plpgsql
as $$
declare
    v_year timestamp;
    v_table text;
    v_partition text;
    v_grantee text;
begin
    for v_year in
        select n
        from generate_series(
            date_trunc('year', first_start at time zone 'UTC'),
            last_start at time zone 'UTC',
            interval '1 year'
        ) as n
    loop
        foreach v_table in array array[
            'archived_record', 'archived_record_event', 'archived_record_observation'
        ] loop
            v_partition := format('%s_%s', v_table, extract(year from v_year));
            continue when to_regclass(format('record_ledger.%I', v_partition)) is not null;
            -- Archivers of two pipelines may both find the year missing. Attaching takes this lock anyway; no reader
            -- and no insert waits for it. It is taken before the second check.
            execute format('lock table record_ledger.%I in share update exclusive mode', v_table);
            continue when to_regclass(format('record_ledger.%I', v_partition)) is not null;
            execute format(
                'create table record_ledger.%I (like record_ledger.%I including all)',
                v_partition, v_table
            );
            -- The owner's default privileges may grant rights on the tables that it creates.
            for v_grantee in
                select distinct
                    case a.grantee
                        when 0 then 'public'
                        else quote_ident(pg_get_userbyid(a.grantee))
                    end
                from pg_class as c
                cross join lateral aclexplode(c.relacl) as a
                where c.oid = to_regclass(format('record_ledger.%I', v_partition))
                    and a.grantee <> c.relowner
            loop
                execute format(
                    'revoke all on table record_ledger.%I from %s', v_partition, v_grantee
                );
            end loop;
            -- Partitions inherit only the row triggers of their table.
            execute format(
                'create trigger refuse_truncate before truncate on record_ledger.%I '
                'for each statement execute function record_ledger.refuse_change()', v_partition
            );
            execute format(
                'comment on table record_ledger.%I is %L', v_partition,
                format('Private. The part of %s for the windows of one year.', v_table)
            );
            -- Created apart and attached: a partition created in its place would lock out every reader of the table. It
            -- is empty, so attaching it checks no rows. Its bounds are formatted here: a DateStyle writes zones as
            -- abbreviations, and PostgreSQL before 18 reads IST as another zone's.
            execute format(
                'alter table record_ledger.%I attach partition record_ledger.%I '
                'for values from (%L) to (%L)',
                v_table,
                v_partition,
                to_char(v_year, 'YYYY-MM-DD"T"HH24:MI:SS"+00"'),
                to_char(v_year + interval '1 year', 'YYYY-MM-DD"T"HH24:MI:SS"+00"')
            );
        end loop;
    end loop;
end
$$;
comment on function record_ledger.create_archive_partitions(timestamptz, timestamptz) is
'Private. Creates the partitions of the archive tables that windows between two instants need.';
