"""Deploying as the SQL decides it: idempotent, one at a time, never back, and harmless to what is there."""

from __future__ import annotations

import re
import shutil
import threading

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from record_ledger.server.sql_files import deploy_script, package_release, sql_directory
from tests.sql.support import (
    PIPELINE,
    audit,
    complete,
    one,
    pass_valid,
    refused,
    register,
    rows,
    snapshot,
    store,
)
from tests.support.databases import GROUP_ROLES, deploy, open_connection

# Everything that a dump of the schema would tell, with the object's identity where it must survive.
CATALOGUE = """
    select 'relation', c.oid::text, c.relname, c.relkind::text, pg_get_userbyid(c.relowner), c.relacl::text,
        obj_description(c.oid, 'pg_class'), case c.relkind when 'v' then pg_get_viewdef(c.oid) end
    from pg_class as c where c.relnamespace = 'record_ledger'::regnamespace
    union all
    select 'column', a.attrelid::text, a.attname, a.attnum::text, format_type(a.atttypid, a.atttypmod),
        a.attnotnull::text, col_description(a.attrelid, a.attnum), pg_get_expr(d.adbin, d.adrelid)
    from pg_attribute as a
    join pg_class as c on c.oid = a.attrelid and c.relnamespace = 'record_ledger'::regnamespace
    left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attnum > 0
    union all
    select 'constraint', conrelid::text, conname, contype::text, null, null, null, pg_get_constraintdef(oid)
    from pg_constraint where connamespace = 'record_ledger'::regnamespace
    union all
    select 'index', indexrelid::text, null, null, null, null, null, pg_get_indexdef(indexrelid)
    from pg_index join pg_class as c on c.oid = indrelid and c.relnamespace = 'record_ledger'::regnamespace
    union all
    select 'trigger', t.oid::text, t.tgname, null, null, null, null, pg_get_triggerdef(t.oid)
    from pg_trigger as t join pg_class as c on c.oid = tgrelid and c.relnamespace = 'record_ledger'::regnamespace
    where not tgisinternal
    union all
    select 'routine', p.oid::text, p.proname, p.prokind::text, pg_get_userbyid(p.proowner), p.proacl::text,
        obj_description(p.oid, 'pg_proc'), pg_get_functiondef(p.oid)
    from pg_proc as p where p.pronamespace = 'record_ledger'::regnamespace and p.prokind in ('f', 'p')
    union all
    select 'schema', n.oid::text, n.nspname, null, pg_get_userbyid(n.nspowner), n.nspacl::text,
        obj_description(n.oid, 'pg_namespace'), null
    from pg_namespace as n where n.nspname = 'record_ledger'
    order by 1, 2, 3, 4
"""


def script(directory=None, release=None):
    return deploy_script(release or package_release(), directory)


@pytest.fixture
def sql_copy(tmp_path):
    """A copy of the SQL files that a test may change."""
    return shutil.copytree(sql_directory(), tmp_path / "sql")


def test_deploying_again_changes_nothing_at_all(ledger):
    before = rows(ledger, CATALOGUE), rows(ledger, "select * from record_ledger.migration")
    assert len(before[0]) > 200
    deployed = rows(ledger, "select * from record_ledger.deployment")
    ledger.execute(script())
    ledger.execute(script())
    assert (
        rows(ledger, CATALOGUE),
        rows(ledger, "select * from record_ledger.migration"),
    ) == before
    assert rows(ledger, "select * from record_ledger.deployment") == deployed


def test_deploying_leaves_every_row_as_it_is_and_claims_go_on(ledger, clock, config):
    clock.set("2026-11-22T20:00:00Z")
    register(ledger, config(PIPELINE, start_at="2026-11-19"))
    store(ledger, PIPELINE)
    held = pass_valid(ledger, PIPELINE, "a")
    complete(ledger, pass_valid(ledger, PIPELINE, "b").token)
    before = (
        snapshot(ledger),
        rows(ledger, "select ctid::text, xmin::text from record_ledger.record"),
    )
    ledger.execute(script())
    after = (
        snapshot(ledger),
        rows(ledger, "select ctid::text, xmin::text from record_ledger.record"),
    )
    assert after == before
    complete(ledger, held.token)
    audit(ledger)


def test_an_edited_migration_is_refused_and_nothing_of_the_deploy_remains(ledger, sql_copy):
    before = rows(ledger, CATALOGUE)
    migration = next((sql_copy / "migrations").glob("0001*"))
    migration.write_text(migration.read_text() + "-- one more line\n")
    rule = sql_copy / "rules" / "passing" / "is_stable.sql"
    rule.write_text(rule.read_text().replace("<= as_of", "< as_of"))
    with refused("RL006", "0001_.* was edited") as caught:
        ledger.execute(script(sql_copy))
    assert "checksum" in caught.value.diag.message_detail
    ledger.execute("rollback")
    assert rows(ledger, CATALOGUE) == before


def test_line_ends_are_no_edit(ledger, sql_copy):
    text = script(sql_copy)
    ledger.execute(text.replace("\n", "\r\n"))
    assert one(ledger, "select count(*) from record_ledger.migration") == len(
        list((sql_copy / "migrations").glob("*.sql"))
    )


def test_a_database_with_a_newer_migration_is_refused(ledger, sql_copy):
    known = len(list((sql_copy / "migrations").glob("*.sql")))
    newer = sql_copy / "migrations" / f"{known + 1:04}_more.sql"
    newer.write_text("alter table record_ledger.record add column more text;\n")
    ledger.execute(script(sql_copy))
    assert one(ledger, "select max(version) from record_ledger.migration") == known + 1
    with refused("RL006", "newer"):
        ledger.execute(script())
    ledger.execute("rollback")


@pytest.mark.parametrize(("there", "ours", "is_newer"), [
    ("9.0.0", "0.1.0", True), ("0.10.0", "0.9.0", True), ("0.1.1", "0.1", True), ("0.9.0", "0.10.0", False),
    ("0.1.0", "0.1.0", False),
])  # fmt: skip
def test_a_database_of_a_newer_release_is_refused(empty_dsn, there, ours, is_newer):
    with open_connection(empty_dsn) as owner:
        owner.execute(script(release=there))
        if is_newer:
            with refused("RL006", f"{there}.*newer than {ours}"):
                owner.execute(script(release=ours))
            owner.execute("rollback")
        else:
            owner.execute(script(release=ours))


def test_a_newer_release_is_known_by_a_session_that_reads_backslashes_in_texts(empty_dsn):
    with open_connection(empty_dsn) as owner:
        owner.execute("set standard_conforming_strings = off")
        owner.execute(script(release="9.0.0"))
        with refused("RL006", "9.0.0.*newer than 0.1.0"):
            owner.execute(script(release="0.1.0"))


def test_a_migration_that_fails_leaves_nothing(empty_dsn, sql_copy):
    known = len(list((sql_copy / "migrations").glob("*.sql")))
    (sql_copy / "migrations" / f"{known + 1:04}_broken.sql").write_text(
        "create table record_ledger.more (); select 1 / 0;\n"
    )
    with open_connection(empty_dsn) as owner:
        with pytest.raises(psycopg.errors.DivisionByZero):
            owner.execute(script(sql_copy))
        owner.execute("rollback")
        assert one(owner, "select to_regnamespace('record_ledger')") is None


def test_migrations_are_applied_in_their_order(ledger):
    with refused("RL006", "0999_far is out of turn"):
        ledger.execute("select record_ledger.migrate(999, '0999_far', 'select 1')")


def test_two_deploys_at_the_same_time_both_succeed(empty_dsn, connect, in_background):
    first, second = connect(dsn=empty_dsn), connect(dsn=empty_dsn)
    first.execute(script().removesuffix("commit;\n"))
    waiting = in_background(second, lambda: second.execute(script()) and None)
    waiting.wait_until_blocked()
    first.execute("commit")
    waiting.result()
    assert one(first, "select count(*) from record_ledger.migration") >= 1


def test_deploys_of_two_databases_at_the_same_time_both_succeed(databases):
    targets = [databases.empty() for _ in range(3)]
    errors = []

    def work(dsn):
        try:
            deploy(dsn)
        except Exception as error:  # noqa: BLE001 (the test gets it)
            errors.append(error)

    threads = [threading.Thread(target=work, args=[dsn]) for dsn in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for dsn in targets:
        databases.drop(dsn)
    assert errors == []


def test_verify_notices_a_missing_or_undescribed_object(ledger):
    verify = (sql_directory() / "verify.sql").read_text()
    ledger.execute(verify)
    public = rows(
        ledger,
        "select 'view', oid::regclass::text, relname from pg_class "
        "where relnamespace = 'record_ledger'::regnamespace and relkind = 'v' union all "
        "select case prokind when 'p' then 'procedure' else 'function' end, oid::regprocedure::text, proname "
        "from pg_proc where pronamespace = 'record_ledger'::regnamespace and proname in ("
        "'register_pipeline', 'new_windows', 'store_new_records', 'pass_valid_record', 'complete_record', "
        "'store_new_and_pass_valid_record', 'fail_record', 'release_record', 'extend_lease', 'oldest_pending_record', "
        "'archive_records', 'archivable_records', 'records_as_of', 'observe_record', 'adopt_observations', "
        "'waive_counts', 'recount_due', 'reopen_changed_records', 'suggest_x_time_back', 'is_day_sealed')",
    )
    assert len(public) == 35
    for kind, identity, name in public:
        for broken in (f"drop {kind} {identity} cascade", f"comment on {kind} {identity} is null"):
            with ledger.transaction(force_rollback=True):
                ledger.execute(broken)
                with refused("RL006", name), ledger.transaction():
                    ledger.execute(verify)


# ---------------------------------------------------------------- an owner who is not a superuser
@pytest.fixture
def owner_dsn(databases, empty_dsn):
    """A database that belongs to an ordinary login user, as that user."""
    name = str(conninfo_to_dict(empty_dsn)["dbname"])
    with open_connection(databases.admin_dsn) as admin:
        user = f"{name}_owner"
        admin.execute(sql.SQL("create role {} login password 'x'").format(sql.Identifier(user)))
        admin.execute(
            sql.SQL("alter database {} owner to {}").format(
                sql.Identifier(name), sql.Identifier(user)
            )
        )
    return make_conninfo(empty_dsn, user=user, password="x")


def test_an_owner_who_is_not_a_superuser_can_deploy_and_work(owner_dsn, ledger_dsn, config):
    # The roles exist on this server since the database of ledger_dsn was deployed.
    with open_connection(owner_dsn) as owner:
        owner.execute(script())
        owner.execute(script())
        assert not one(
            owner, "select rolsuper or rolcreaterole from pg_roles where rolname = current_user"
        )
        register(owner, config(PIPELINE, start_at="2026-01-01", x_time_back="0s"))
        store(owner, PIPELINE)
        complete(owner, pass_valid(owner, PIPELINE, "a").token)
        for role in GROUP_ROLES:
            assert one(
                owner, "select has_table_privilege(%s, 'record_ledger.pipelines', 'select')", [role]
            )
        audit(owner)


def test_without_the_roles_and_the_right_to_create_them_a_deploy_warns_and_goes_on(
    owner_dsn, sql_copy
):
    # Other names than the ledger's: the roles belong to the whole server, and other tests need them.
    for name in ("grants.sql", "deploy/roles.sql"):
        file = sql_copy / name
        file.write_text(re.sub("record_ledger_(reader|runner)", r"rl_absent_\1", file.read_text()))
    said = []
    with open_connection(owner_dsn) as owner:
        owner.add_notice_handler(
            lambda notice: said.append((notice.severity, notice.message_primary))
        )
        owner.execute(script(sql_copy))
        warnings = [message for severity, message in said if severity == "WARNING"]
        assert len(warnings) == 2
        assert all("rl_absent_r" in warning and "administrator" in warning for warning in warnings)
        assert one(owner, "select count(*) from record_ledger.pipelines") == 0
        assert one(owner, "select count(*) from pg_roles where rolname ~ '^rl_absent'") == 0


def test_what_earlier_releases_granted_does_not_stay(ledger):
    ledger.execute("grant all on record_ledger.record to public, record_ledger_reader")
    ledger.execute(
        "grant execute on function record_ledger.register_config(jsonb) to record_ledger_runner"
    )
    ledger.execute("create sequence record_ledger.numbers")
    ledger.execute("grant select on record_ledger.numbers to public")
    ledger.execute(script())
    for role in ("public", *GROUP_ROLES):
        assert not one(
            ledger, "select has_table_privilege(%s, 'record_ledger.record', 'select')", [role]
        )
        assert not one(
            ledger,
            "select has_function_privilege(%s, 'record_ledger.register_config(jsonb)', 'execute')",
            [role],
        )
