-- record_ledger.begin_deploy, migrate, end_deploy: what a deploy decides, so that psql and Python decide alike.
-- Every deploy script reads it once the schema is trusted; it can be applied repeatedly.
-- Called by: the script that `record-ledger deploy` runs (and `record-ledger deploy --print-sql` prints).
-- Rules: a deploy never goes back to an older release, and refuses an edited migration.

comment on schema record_ledger is
'The record ledger: which time window of which pipeline is next, stable, complete and free. Views and routines are public, tables private.';

create table if not exists record_ledger.migration (
    version integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default clock_timestamp(),
    applied_by text not null default session_user
);

create table if not exists record_ledger.deployment (
    release text primary key,
    deployed_at timestamptz not null default clock_timestamp(),
    deployed_by text not null default session_user
);

create or replace function record_ledger.release_numbers(release text)
returns integer[]
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    -- '1.10.0rc1' counts as 1.10.0.
    select coalesce(
        string_to_array(substring(release from '^[0-9]+(?:[.][0-9]+)*'), '.')::integer[], '{}'
    )
$$;
comment on function record_ledger.release_numbers(text) is
'Private. The numbers of a release, by which releases are ordered.';

create or replace function record_ledger.begin_deploy(release text, newest_migration integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_newest_applied integer := (select max(m.version) from record_ledger.migration as m);
    v_newer_release text := (
        select d.release
        from record_ledger.deployment as d
        where record_ledger.release_numbers(d.release)
            > record_ledger.release_numbers(begin_deploy.release)
        order by record_ledger.release_numbers(d.release) desc
        limit 1
    );
begin
    if v_newest_applied > newest_migration then
        raise exception
            'deploy refused: the database is at migration %, newer than the % that release % knows',
            v_newest_applied, newest_migration, release
            using errcode = 'RL006', hint = 'Upgrade the record-ledger package and deploy again.';
    end if;
    if v_newer_release is not null then
        raise exception 'deploy refused: the database holds release %, newer than %',
            v_newer_release, release
            using errcode = 'RL006', hint = 'Upgrade the record-ledger package and deploy again.';
    end if;
end
$$;
comment on function record_ledger.begin_deploy(text, integer) is
'Private. Refuses a deploy (RL006) onto a database that a newer release has deployed.';

create or replace function record_ledger.migrate(version integer, name text, body text)
returns void
language plpgsql
-- The body finds the catalogue's names too, also called by hand from a session with another path.
set search_path = pg_catalog, pg_temp
as $$
declare
    -- A checkout on Windows may have changed the line ends; that is not an edit.
    v_checksum text := encode(sha256(convert_to(replace(body, E'\r\n', E'\n'), 'UTF8')), 'hex');
    v_applied record_ledger.migration;
begin
    select m.* into v_applied from record_ledger.migration as m where m.version = migrate.version;
    if v_applied.checksum = v_checksum then
        return;
    end if;
    if v_applied.version is not null then
        raise exception 'deploy refused: migration % was edited after it had been applied here',
            name
            using errcode = 'RL006',
            detail = format('Applied at %s as %s with checksum %s; the file now has %s.',
                v_applied.applied_at, v_applied.name, v_applied.checksum, v_checksum),
            hint = 'Restore the released file and put the change into a new migration.';
    end if;
    if version <> (select coalesce(max(m.version), 0) + 1 from record_ledger.migration as m) then
        raise exception 'deploy refused: migration % is out of turn', name
            using errcode = 'RL006',
            hint = 'Migrations are numbered 1, 2, 3 ... and applied in that order.';
    end if;
    execute body;
    insert into record_ledger.migration (version, name, checksum)
    values (version, name, v_checksum);
end
$$;
comment on function record_ledger.migrate(integer, text, text) is
'Private. Applies a migration once; refuses (RL006) one whose text differs from what was applied.';

create or replace function record_ledger.end_deploy(release text)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    insert into record_ledger.deployment (release)
    values (end_deploy.release)
    on conflict do nothing
$$;
comment on function record_ledger.end_deploy(text) is
'Private. Records the release that was deployed.';
