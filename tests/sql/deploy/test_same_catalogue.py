"""A ledger that was deployed over an earlier release is the same, object by object, as a fresh one."""

from __future__ import annotations

import pytest

from tests.support.databases import deploy, open_connection
from tests.support.releases import RELEASES, release_script

# Each gives (name, facts). The order of columns is not compared: a table gets new ones at its end.
CATALOGUE = {
    "schema": """
        select n.nspname, n.nspowner::regrole::text, n.nspacl::text
        from pg_namespace as n where n.nspname = 'record_ledger'
    """,
    "relation": """
        select
            c.relname, c.relkind, c.relpersistence, c.relispartition, c.relrowsecurity, c.reloptions,
            pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid), c.relowner::regrole::text,
            array(select x::text from unnest(c.relacl) as x order by 1),
            case when c.relkind = 'v' then pg_get_viewdef(c.oid) end
        from pg_class as c where c.relnamespace = 'record_ledger'::regnamespace and c.relkind <> 'i'
    """,
    "column": """
        select
            c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
            a.attgenerated, a.attcollation::regcollation::text, a.attstorage, a.attcompression, a.attstattarget,
            a.attoptions, a.attacl::text, pg_get_expr(d.adbin, d.adrelid)
        from pg_class as c
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
        where c.relnamespace = 'record_ledger'::regnamespace and c.relkind not in ('i', 'I')
    """,
    "order of the columns of a view": """
        select c.relname, array_agg(a.attname::text order by a.attnum)
        from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0
        where c.relnamespace = 'record_ledger'::regnamespace and c.relkind = 'v' group by c.oid
    """,
    "constraint": """
        select
            k.conrelid::regclass || '.' || k.conname, k.contype, k.convalidated, k.condeferrable,
            k.confupdtype, k.confdeltype, pg_get_constraintdef(k.oid)
        from pg_constraint as k where k.connamespace = 'record_ledger'::regnamespace
    """,
    "index": """
        select i.indexrelid::regclass::text, i.indisvalid, i.indisclustered, pg_get_indexdef(i.indexrelid)
        from pg_index as i join pg_class as c on c.oid = i.indexrelid
        where c.relnamespace = 'record_ledger'::regnamespace
    """,
    "routine": """
        select
            p.oid::regprocedure::text, p.proowner::regrole::text, pg_get_functiondef(p.oid), p.provolatile,
            p.proparallel, p.prosecdef, p.proisstrict, p.proleakproof, p.procost, p.prorows, p.proconfig,
            array(select x::text from unnest(p.proacl) as x order by 1)
        from pg_proc as p where p.pronamespace = 'record_ledger'::regnamespace
    """,
    "trigger": """
        select t.tgrelid::regclass || '.' || t.tgname, t.tgenabled, pg_get_triggerdef(t.oid)
        from pg_trigger as t join pg_class as c on c.oid = t.tgrelid
        where c.relnamespace = 'record_ledger'::regnamespace and not t.tgisinternal
    """,
    "type": """
        select t.oid::regtype::text, t.typtype, t.typowner::regrole::text, t.typacl::text
        from pg_type as t where t.typnamespace = 'record_ledger'::regnamespace
    """,
    "policy, rule, statistics": """
        select r.rulename || ' on ' || r.ev_class::regclass from pg_rewrite as r
        join pg_class as c on c.oid = r.ev_class where c.relnamespace = 'record_ledger'::regnamespace
        union all select s.stxname from pg_statistic_ext as s where s.stxnamespace = 'record_ledger'::regnamespace
        union all select l.polname from pg_policy as l
    """,
    "default right": "select a.defaclrole::regrole::text, a.defaclacl::text from pg_default_acl as a",
    "comment": """
        select i.type || ' ' || i.identity, d.description
        from pg_description as d
        cross join pg_identify_object(d.classoid, d.objoid, d.objsubid) as i
        where i.schema = 'record_ledger' or i.identity = 'record_ledger' or i.identity like '%record_ledger.%'
    """,
    "migration": "select m.name, m.version, m.checksum from record_ledger.migration as m",
}


def catalogue(dsn):
    with open_connection(dsn) as connection:
        connection.execute("set search_path = pg_catalog")
        return {
            (kind, row[0]): row[1:]
            for kind, query in CATALOGUE.items()
            for row in connection.execute(query).fetchall()
        }


@pytest.fixture(scope="module")
def fresh(databases):
    dsn = databases.clone()
    yield catalogue(dsn)
    databases.drop(dsn)


def test_the_catalogue_of_a_fresh_ledger_is_read_whole(fresh):
    kinds = {kind for kind, _ in fresh}
    assert set(CATALOGUE) - kinds == {"default right"}
    assert {"record_ledger.record.one_record_per_window_start"} <= {name for _, name in fresh}
    assert ("comment", "table record_ledger.claim") in fresh
    assert ("comment", "table column record_ledger.claim.historical_credit") in fresh


@pytest.mark.parametrize("release", RELEASES)
def test_a_deploy_over_an_earlier_release_gives_the_same_ledger_as_a_fresh_one(
    empty_dsn, fresh, release
):
    with open_connection(empty_dsn) as connection:
        connection.execute(release_script(release))
    deploy(empty_dsn)
    upgraded = catalogue(empty_dsn)
    assert set(upgraded) - set(fresh) == set(), "the upgraded ledger has more"
    assert set(fresh) - set(upgraded) == set(), "the upgraded ledger has less"
    differing = {key: (upgraded[key], fresh[key]) for key in fresh if upgraded[key] != fresh[key]}
    assert differing == {}


def test_a_deploy_takes_back_what_was_said_of_a_table_and_is_not_said_any_more(databases, fresh):
    dsn = databases.clone()
    with open_connection(dsn) as connection:
        connection.execute("comment on table record_ledger.record is 'of an earlier release'")
        connection.execute("comment on column record_ledger.record.fields is 'and this'")
        connection.execute("comment on column record_ledger.claim.historical_credit is null")
    deploy(dsn)
    found = catalogue(dsn)
    databases.drop(dsn)
    assert {key for key in found.keys() | fresh.keys() if found.get(key) != fresh.get(key)} == set()
