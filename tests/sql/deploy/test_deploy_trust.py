"""A deploy trusts nothing that it finds: what a stranger made beforehand is refused before it can run."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from record_ledger import DeployRefused
from record_ledger.server.deploy import deploy
from record_ledger.server.doctor import examine
from record_ledger.server.sql_files import deploy_script, package_release
from tests.sql.support import one, refused, rows
from tests.support.databases import open_connection
from tests.support.releases import RELEASES, release_script

pytestmark = pytest.mark.slow

# A stranger's code that notes whom it runs as.
SPRING = "insert into public.trap values (current_user, session_user)"


def script(owner=None):
    return deploy_script(package_release(), owner=owner)


@pytest.fixture
def admin(empty_dsn):
    """A superuser's connection to a database without a ledger, with a trap for what strangers' code runs as."""
    with open_connection(empty_dsn) as connection:
        connection.execute("create table public.trap (who text, behind text)")
        connection.execute("grant all on public.trap to public")
        yield connection


@pytest.fixture
def new_role(admin, empty_dsn):
    """Makes login roles that are named after the test's database: `new_role("stranger", "createrole")`."""
    made = []

    def make(name, options=""):
        role = f"{conninfo_to_dict(empty_dsn)['dbname']}_{name}"
        admin.execute(f"create role {role} login password 'x' {options}")
        made.append(role)
        return role

    yield make
    for role in made:
        admin.execute("rollback")
        admin.execute(f"drop owned by {role} cascade")
        admin.execute(
            sql.SQL("alter database {} owner to current_user").format(
                sql.Identifier(str(conninfo_to_dict(empty_dsn)["dbname"]))
            )
        )
        admin.execute(f"drop role {role}")


@pytest.fixture
def as_role(empty_dsn):
    """Opens connections as one of those roles."""
    opened = []

    def connect(role):
        opened.append(open_connection(make_conninfo(empty_dsn, user=role, password="x")))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def stranger(admin, new_role, as_role, empty_dsn):
    """A role with nothing but CREATE on the database (and on schema public), connected."""
    role = new_role("stranger")
    name = sql.Identifier(str(conninfo_to_dict(empty_dsn)["dbname"]))
    admin.execute(sql.SQL("grant create on database {} to {}").format(name, sql.Identifier(role)))
    admin.execute(sql.SQL("grant create on schema public to {}").format(sql.Identifier(role)))
    return as_role(role)


@pytest.fixture
def deployers(admin, new_role, as_role, empty_dsn):
    """Connections that may deploy: a superuser, and the database's owner, who is none."""
    owner = new_role("owner")

    def connect(kind):
        if kind == "superuser":
            return admin
        admin.execute(
            sql.SQL("alter database {} owner to {}").format(
                sql.Identifier(str(conninfo_to_dict(empty_dsn)["dbname"])), sql.Identifier(owner)
            )
        )
        return as_role(owner)

    return connect


def sprung(admin):
    return rows(admin, "select distinct who, behind from public.trap")


# What a stranger with CREATE on the database can have ready, each owner of its own schema.
READY = {
    "an empty schema": "",
    "a function that the ledger has": (
        "create function record_ledger.clock() returns timestamptz language sql as 'select now()'"
    ),
    "a function that a deploy calls": f"""
        create function record_ledger.begin_deploy(text, integer) returns void language plpgsql
        as $$ begin {SPRING}; end $$
    """,
    "a better match for what a deploy calls": f"""
        create function record_ledger.end_deploy(varchar) returns void language plpgsql
        as $$ begin {SPRING}; end $$
    """,
    "the table of migrations, with a trigger": f"""
        create table record_ledger.migration (version integer primary key, name text not null,
            checksum text not null, applied_at timestamptz not null default clock_timestamp(),
            applied_by text not null default session_user);
        grant all on record_ledger.migration to public;
        create function record_ledger.spring() returns trigger language plpgsql
        as $$ begin {SPRING}; return new; end $$;
        create trigger spring before insert on record_ledger.migration for each row
        execute function record_ledger.spring()
    """,
    "a view where the releases are looked up": f"""
        create function record_ledger.spring() returns text language plpgsql
        as $$ begin {SPRING}; return '0.1.0'; end $$;
        create view record_ledger.deployment as
        select record_ledger.spring() as release, now() as deployed_at;
        grant usage on schema record_ledger to public;
        grant all on record_ledger.deployment to public
    """,
    "a rule": f"""
        create table record_ledger.deployment (release text primary key,
            deployed_at timestamptz default now(), deployed_by text);
        create function record_ledger.spring() returns void language plpgsql
        as $$ begin {SPRING}; end $$;
        create rule spring as on insert to record_ledger.deployment do also select record_ledger.spring()
    """,
    "a default": f"""
        create function record_ledger.spring() returns timestamptz language plpgsql
        as $$ begin {SPRING}; return now(); end $$;
        create table record_ledger.migration (version integer primary key, name text not null,
            checksum text not null, applied_at timestamptz default record_ledger.spring(),
            applied_by text default session_user)
    """,
    "a domain": "create domain record_ledger.level as integer",
    "an operator": """
        create function record_ledger.eq(numeric, integer) returns boolean language sql as 'select true';
        create operator record_ledger.= (leftarg = numeric, rightarg = integer, function = record_ledger.eq)
    """,
    "a sequence": "create sequence record_ledger.claim_token_seq",
    "a collation": "create collation record_ledger.c (locale = 'C')",
    "a text search configuration": "create text search configuration record_ledger.c (copy = pg_catalog.simple)",
}  # fmt: skip


@pytest.mark.parametrize("ready", READY)
@pytest.mark.parametrize("kind", ["superuser", "owner"])
def test_a_schema_that_a_stranger_made_is_refused_before_any_of_it_runs(
    admin, stranger, deployers, empty_dsn, ready, kind
):
    stranger.execute("create schema record_ledger")
    if READY[ready]:
        stranger.execute(READY[ready])
    deployer = deployers(kind)

    with refused("RL006", f"belongs to role {stranger.info.user}") as caught:
        deployer.execute(script())
    deployer.execute("rollback")
    with pytest.raises(DeployRefused, match="belongs to role"):
        deploy(make_conninfo(empty_dsn, user=deployer.info.user, password="x"))

    assert "drop schema record_ledger cascade" in caught.value.diag.message_hint
    assert sprung(admin) == []
    # What the hint says ends it.
    admin.execute("drop schema record_ledger cascade")
    deployer.execute(script())
    assert one(deployer, "select count(*) from record_ledger.pipelines") == 0


@pytest.mark.parametrize("kind", ["superuser", "owner"])
def test_a_schema_that_belongs_to_a_predefined_role_is_no_more_trusted(
    admin, stranger, deployers, kind
):
    admin.execute(f"grant pg_monitor to {stranger.info.user}")
    name = sql.Identifier(admin.info.dbname)
    admin.execute(sql.SQL("grant create on database {} to pg_monitor").format(name))
    stranger.execute("create schema record_ledger authorization pg_monitor")
    with refused("RL006", "belongs to role pg_monitor"):
        deployers(kind).execute(script())
    admin.execute("rollback")
    admin.execute(sql.SQL("revoke create on database {} from pg_monitor").format(name))
    admin.execute("drop schema record_ledger cascade")


def test_what_the_databases_owner_puts_into_a_superusers_schema_does_not_become_the_superusers(
    admin, deployers
):
    admin.execute("create schema record_ledger")
    owner = deployers("owner")
    admin.execute(f"grant all on schema record_ledger to {owner.info.user}")
    owner.execute(
        "create function record_ledger.mine() returns text security definer language sql "
        "as 'select current_user::text'"
    )
    with refused("RL006", f"record_ledger.mine.. belongs to role {owner.info.user}"):
        admin.execute(script())
    admin.execute("rollback")


def test_an_extension_that_a_stranger_has_put_there_is_refused(admin, stranger):
    if not one(admin, "select count(*) from pg_available_extensions where name = 'vector'"):
        pytest.skip("this server has no extension to try it with")
    admin.execute("create schema record_ledger; create extension vector schema record_ledger")
    admin.execute(
        "update pg_extension set extowner = %s::regrole where extname = 'vector'",
        [stranger.info.user],
    )
    with refused("RL006", f"extension vector belongs to role {stranger.info.user}"):
        admin.execute(script())
    admin.execute("rollback")
    admin.execute("update pg_extension set extowner = 10 where extname = 'vector'")


@pytest.mark.parametrize("kind", ["superuser", "owner"])
def test_doctor_asks_nothing_of_a_schema_that_a_stranger_made(
    admin, stranger, deployers, empty_dsn, kind
):
    stranger.execute("create schema record_ledger")
    stranger.execute(READY["a view where the releases are looked up"])
    stranger.execute(
        f"""
        create function record_ledger.deployed_release() returns text language plpgsql
        as $$ begin {SPRING}; return '9.9'; end $$;
        create view record_ledger.pipeline_progress as select record_ledger.deployed_release() as pipeline_id;
        create view record_ledger.pipelines as select record_ledger.deployed_release() as timezone;
        grant select on all tables in schema record_ledger to public;
        create function record_ledger.store_new_and_pass_valid_record(jsonb, text, jsonb) returns text
        language sql as 'select record_ledger.deployed_release()'
        """
    )
    deployer = deployers(kind)
    checks = examine(make_conninfo(empty_dsn, user=deployer.info.user, password="x"))

    assert sprung(admin) == []
    found = [check for check in checks if check.state == "error"]
    assert any(
        check.name == "owner" and str(stranger.info.user) in check.finding for check in found
    )


# What a stranger can have put into a schema that is the deployer's, where the deployer let it.
LET_IN = {
    "an object": (
        "grant create on schema record_ledger to {stranger}",
        "create function record_ledger.is_stable(text) returns text language sql as 'select $1'",
        "function record_ledger.is_stable.text. belongs to role",
    ),
    "the right to create more": (
        "grant create on schema record_ledger to {stranger}",
        "select 1",
        "may create objects in the schema",
    ),
    "that right for all": (
        "grant create on schema record_ledger to public",
        "select 1",
        "PUBLIC may create objects in the schema .revoke create on schema record_ledger from public",
    ),
    "a trigger": (
        "grant usage on schema record_ledger to {stranger}; grant trigger on record_ledger.migration to {stranger}",
        f"""
        create function public.spring() returns trigger language plpgsql
        as $$ begin {SPRING}; return new; end $$;
        create trigger spring before insert or update on record_ledger.migration for each row
        execute function public.spring()
        """,
        "trigger spring on table record_ledger.migration uses function public.spring",
    ),
    "a foreign key": (
        "grant usage on schema record_ledger to {stranger}; grant references on record_ledger.record to {stranger}",
        "create table public.mine (p text, w timestamptz, foreign key (p, w) references record_ledger.record)",
        "foreign key|mine_p_w_fkey on table public.mine",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", LET_IN)
@pytest.mark.parametrize("kind", ["superuser", "owner"])
def test_what_a_stranger_was_let_put_into_the_ledger_is_refused(
    admin, stranger, deployers, what, kind
):
    deployer = deployers(kind)
    deployer.execute(release_script("0.4.0"))
    grant, put, said = LET_IN[what]
    deployer.execute(grant.format(stranger=stranger.info.user))
    stranger.execute(put)

    with refused("RL006", said):
        deployer.execute(script())
    deployer.execute("rollback")
    assert sprung(admin) == []
    assert one(deployer, "select max(version) from record_ledger.migration") == 5


@pytest.mark.parametrize("kind", ["superuser", "owner"])
def test_what_a_stranger_adds_while_a_deploy_is_under_way_is_found_before_it_is_committed(
    admin, stranger, deployers, kind
):
    deployer = deployers(kind)
    deployer.execute(script())
    who = stranger.info.user
    deployer.execute(
        f"grant usage on schema record_ledger to {who}; grant trigger on record_ledger.record to {who}"
    )
    text = script()
    half = text.index("create or replace view")
    deployer.execute(text[:half])
    stranger.execute(
        f"""
        create function public.spring() returns trigger language plpgsql
        as $$ begin {SPRING}; return new; end $$;
        create trigger spring before insert or update on record_ledger.record for each row
        execute function public.spring()
        """
    )
    with refused("RL006", "trigger spring on table record_ledger.record uses"):
        deployer.execute(text[half:])
    deployer.execute("rollback")
    assert sprung(admin) == []


@pytest.mark.parametrize("kind", ["superuser", "owner"])
def test_rights_that_strangers_hold_on_the_ledgers_tables_end_with_a_deploy(
    admin, stranger, deployers, kind
):
    deployer = deployers(kind)
    deployer.execute(script())
    who = stranger.info.user
    deployer.execute(
        f"""
        grant usage on schema record_ledger to {who};
        grant all on record_ledger.record, record_ledger.pipelines to {who};
        grant insert (pipeline_id) on record_ledger.claim to {who};
        alter default privileges in schema record_ledger grant all on tables to {who}
        """
    )
    deployer.execute(script())
    held = rows(
        admin,
        """
        select c.relname, a.privilege_type
        from pg_class as c cross join lateral aclexplode(c.relacl) as a
        where c.relnamespace = 'record_ledger'::regnamespace and a.grantee = %(who)s::regrole
            and a.privilege_type <> 'SELECT'
        union all
        select c.attrelid::regclass::text, a.privilege_type
        from pg_attribute as c cross join lateral aclexplode(c.attacl) as a
        where a.grantee = %(who)s::regrole and a.privilege_type <> 'SELECT'
        """,
        {"who": who},
    )
    assert held == []
    # A backup's right to read is not taken away.
    assert one(admin, f"select has_table_privilege('{who}', 'record_ledger.record', 'select')")
    # What is made at run time is not for others either.
    deployer.execute(
        "select record_ledger.create_archive_partitions('2026-01-01Z', '2026-01-02Z');"
        "alter default privileges grant all on tables to public;"
        "select record_ledger.create_archive_partitions('2027-01-01Z', '2027-01-02Z')"
    )
    made = rows(
        admin,
        """
        select c.relname, a.grantee::regrole::text
        from pg_class as c cross join lateral aclexplode(c.relacl) as a
        where c.relnamespace = 'record_ledger'::regnamespace and c.relispartition and a.grantee <> c.relowner
        """,
    )
    assert made == []


def test_the_owner_of_a_ledger_is_named_by_an_administrator_who_upgrades_it(
    admin, new_role, as_role, empty_dsn
):
    keeper = new_role("keeper")
    name = sql.Identifier(str(conninfo_to_dict(empty_dsn)["dbname"]))
    admin.execute(sql.SQL("grant create on database {} to {}").format(name, sql.Identifier(keeper)))
    as_role(keeper).execute(release_script("0.4.0"))

    with refused("RL006", f"belongs to role {keeper}") as caught:
        admin.execute(script())
    admin.execute("rollback")
    assert f"record-ledger deploy --owner '{keeper}'" in caught.value.diag.message_hint
    assert deploy(empty_dsn, owner=keeper).outcome == "upgraded"

    assert owners(admin) == [(keeper,)]
    # A deployer who becomes the owner first needs no name.
    admin.execute(f"set role {keeper}")
    admin.execute(script())
    admin.execute("reset role")
    assert owners(admin) == [(keeper,)]
    with refused("RL006", "nobody_here, the owner that was asked for, does not exist"):
        admin.execute(script(owner="nobody_here"))
    admin.execute("rollback")
    with as_role(keeper) as user, refused("RL006", "may not act as"):
        user.execute(script(owner=admin.info.user))


def owners(connection):
    return rows(
        connection,
        """
        select distinct pg_get_userbyid(c.relowner) from pg_class as c
        where c.relnamespace = 'record_ledger'::regnamespace
        union
        select distinct pg_get_userbyid(p.proowner) from pg_proc as p
        where p.pronamespace = 'record_ledger'::regnamespace
        union
        select distinct pg_get_userbyid(t.typowner) from pg_type as t
        where t.typnamespace = 'record_ledger'::regnamespace
        union
        select pg_get_userbyid(n.nspowner) from pg_namespace as n where n.nspname = 'record_ledger'
        """,
    )


@pytest.mark.parametrize("release", RELEASES)
def test_a_ledger_that_two_users_have_deployed_belongs_to_one_of_them_again(
    admin, deployers, release
):
    owner = deployers("owner")
    owner.execute(release_script(release))
    # As an administrator's upgrade by 0.4.0 left it: what is new belongs to the superuser.
    admin.execute(
        "create function record_ledger.later() returns integer language sql as 'select 1';"
        "create table record_ledger.later (id integer generated always as identity, n serial);"
        "create view record_ledger.latest as select 1 as x;"
        "create type record_ledger.pair as (a integer, b integer)"
    )
    with refused("RL006", "belongs to role postgres, and the ledger to"):
        owner.execute(script())
    owner.execute("rollback")

    admin.execute(script())
    assert owners(admin) == [(owner.info.user,)]
    owner.execute(script())
    assert owners(admin) == [(owner.info.user,)]


def test_a_member_of_the_role_that_owns_the_ledger_deploys_as_that_role(
    admin, new_role, as_role, empty_dsn
):
    team, member = new_role("team"), new_role("member")
    admin.execute(f"grant {team} to {member}")
    name = sql.Identifier(str(conninfo_to_dict(empty_dsn)["dbname"]))
    admin.execute(sql.SQL("grant create on database {} to {}").format(name, sql.Identifier(team)))
    user = as_role(member)
    user.execute(script(owner=team))
    user.execute(script())
    assert owners(admin) == [(team,)]
    assert one(user, "select current_user") == member
    assert one(user, "select deployed_by from record_ledger.deployment") == member


@pytest.mark.parametrize("whose", ["the schema", "an object"])
def test_a_role_that_a_stranger_has_granted_to_the_deployer_is_not_trusted(
    admin, stranger, deployers, new_role, empty_dsn, whose
):
    deployer, lent = deployers("owner"), new_role("lent")
    admin.execute(f"grant {lent} to {stranger.info.user} with admin option")
    name = sql.Identifier(str(conninfo_to_dict(empty_dsn)["dbname"]))
    admin.execute(sql.SQL("grant create on database {} to {}").format(name, sql.Identifier(lent)))
    stranger.execute(f"grant {lent} to {deployer.info.user}")
    if whose == "the schema":
        stranger.execute(f"create schema record_ledger authorization {lent}")
        said = f"belongs to role {lent}, which .* is a member of by the grant of a role that it cannot trust"
    else:
        deployer.execute(script())
        deployer.execute(f"grant create on schema record_ledger to {lent}")
        said = "function record_ledger.spring.. belongs to role"
    stranger.execute(f"set role {lent}")
    stranger.execute(
        f"""
        create function record_ledger.spring() returns void language plpgsql
        as $$ begin {SPRING}; end $$
        """
    )

    with refused("RL006", said):
        deployer.execute(script())
    deployer.execute("rollback")
    assert sprung(admin) == []


def test_a_role_that_was_granted_by_who_may_act_as_the_deployer_is_trusted(
    admin, new_role, as_role, empty_dsn
):
    chief, team, member = new_role("chief"), new_role("team"), new_role("member")
    admin.execute(f"grant {team} to {chief} with admin option")
    admin.execute(f"grant {member} to {chief} with admin option")
    name = sql.Identifier(str(conninfo_to_dict(empty_dsn)["dbname"]))
    admin.execute(sql.SQL("grant create on database {} to {}").format(name, sql.Identifier(team)))
    as_role(chief).execute(f"grant {team} to {member}")
    user = as_role(member)
    user.execute(script(owner=team))
    user.execute(script())
    assert owners(admin) == [(team,)]


# ---------------------------------------------------------------- half a ledger
@pytest.mark.parametrize("kind", ["superuser", "owner"])
def test_an_empty_schema_of_the_deployers_own_is_taken(admin, deployers, kind):
    deployer = deployers(kind)
    deployer.execute("create schema record_ledger")
    deployer.execute(script())
    assert owners(admin) == [(deployer.info.user,)]


HALVES = {
    "a table of that name": ("create table record_ledger.record (x integer)", "table record_ledger.record"),
    "a migration table of another make": ("create table record_ledger.migration (x integer)", "record_ledger.migration"),
    "a view of that name": ("create view record_ledger.migration as select 1 as version, 2 as name, 3 as checksum",
                            "view record_ledger.migration"),
    "a routine": ("create function record_ledger.f() returns integer language sql as 'select 1'", "record_ledger.f"),
}  # fmt: skip


@pytest.mark.parametrize("half", HALVES)
def test_a_schema_that_holds_no_ledger_but_something_is_refused_in_one_sentence(
    admin, empty_dsn, half
):
    make, said = HALVES[half]
    admin.execute("create schema record_ledger")
    admin.execute(make)
    with refused("RL006", f"is not empty and holds no ledger: .*{said}") as caught:
        admin.execute(script())
    admin.execute("rollback")
    assert "drop schema record_ledger cascade" in caught.value.diag.message_hint
    admin.execute("drop schema record_ledger cascade")
    assert deploy(empty_dsn).outcome == "fresh"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("drop table record_ledger.claim", "table claim missing"),
        ("drop table record_ledger.deployment", "table deployment missing"),
        ("drop table record_ledger.record cascade; drop table record_ledger.archived_record cascade",
         "table archived_record, record missing"),
        ("truncate record_ledger.migration", "is not empty and holds no ledger"),
        ("drop table record_ledger.migration", "is not empty and holds no ledger"),
    ],
)  # fmt: skip
def test_a_ledger_that_lost_a_table_is_refused_in_one_sentence(admin, harm, said):
    admin.execute(script())
    admin.execute(harm)
    with refused("RL006", said):
        admin.execute(script())
    admin.execute("rollback")


def test_two_first_deploys_at_the_same_time_and_a_stranger_who_creates_the_schema_between(
    admin, stranger, empty_dsn, connect, in_background
):
    stranger.execute("begin")
    stranger.execute("create schema record_ledger")
    deployer = connect(dsn=empty_dsn)
    waiting = in_background(deployer, lambda: deployer.execute(script()) and None)
    waiting.wait_until_blocked()
    stranger.execute("commit")
    with pytest.raises(psycopg.Error) as caught:
        waiting.result()
    assert caught.value.sqlstate == "RL006"
    deployer.execute("rollback")
    with refused("RL006", f"belongs to role {stranger.info.user}"):
        deployer.execute(script())
