"""Traps: functions and operators of the path that fit a call better than the catalogue's.

PostgreSQL prefers an exact match of a call's types, in any schema of the search_path, to a function
of the catalogue for any type or for a wider one. Here are such exact variants of every name of the
catalogue that the project's SQL uses. Each records its call, also when the transaction is rolled
back, and raises.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import psycopg

from tests.support.databases import Connection
from tests.support.repository import files, text

# The types of values in the project's SQL.
TYPES = (
    "text", "integer", "bigint", "numeric", "boolean", "timestamp with time zone",
    "timestamp without time zone", "date", "interval", "jsonb", "json", "name",
    "double precision", "oid", "regclass", "smallint",
)  # fmt: skip
ARRAYS = ("text[]", "integer[]", "bigint[]", "numeric[]", "timestamp with time zone[]",
          "interval[]", "jsonb[]", "name[]", "oid[]")  # fmt: skip
# PostgreSQL casts these types implicitly, so a call with them finds the catalogue's wider function.
NARROWER = {
    "text": ("name", "character varying", '"char"'),
    "bigint": ("integer", "smallint"),
    "integer": ("smallint",),
    "numeric": ("integer", "bigint", "smallint"),
    "double precision": ("integer", "bigint", "numeric", "real"),
    "timestamp with time zone": ("date", "timestamp without time zone"),
    "timestamp without time zone": ("date",),
    "oid": ("integer", "bigint", "regclass", "regprocedure", "regrole", "regtype"),
    "regclass": ("text", "oid"),
}
_ONE = {"anyelement", "anynonarray", "anycompatible", "anycompatiblenonarray", '"any"', "anyenum"}
_MANY = {"anyarray", "anycompatiblearray"}
_OPERATOR = re.compile(r"(?<![-+*/<>=~!@#%^&|?])[-+*/<>=~!@#%^&|?]{1,3}(?![-+*/<>=~!@#%^&|?])")
_MOST_ARGUMENTS = 8
_PER_STATEMENT = 500


@dataclass(frozen=True)
class Trap:
    """One variant: its kind ('function' or 'operator'), name, argument types and result."""

    kind: str
    name: str
    arguments: tuple[str, ...]
    returns: str

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name}({', '.join(self.arguments)})"


@cache
def used_names() -> tuple[frozenset[str], frozenset[str]]:
    """Returns possible names of functions, and of operators, in the project's SQL."""
    words: set[str] = set()
    operators: set[str] = set()
    for path in files():
        is_sql = path.suffix == ".sql" and path.parts[0] in ("sql", "dbt_project")
        if is_sql or (path.suffix == ".py" and path.parts[0] == "python_runner"):
            found = text(path)
            words |= set(re.findall(r"\b[a-z_][a-z_0-9]*(?=\()", found))
            if is_sql or "statements" in path.name:
                operators |= set(_OPERATOR.findall(found))
    return frozenset(words), frozenset(operators)


def traps(connection: Connection) -> list[Trap]:
    """Returns variants of the catalogue's functions and operators of these names, none its own."""
    words, operators = used_names()
    found: dict[tuple[str, str, tuple[str, ...]], Trap] = {}
    own = set()
    for kind, name, declared, variadic, returns in connection.execute(
        """
        select 'function', p.proname::text,
            array(select format_type(t, null) from unnest(p.proargtypes::oid[]) with ordinality
                as a (t, n) order by n),
            p.provariadic <> 0,
            case when p.proretset then 'setof ' else '' end || format_type(p.prorettype, null)
        from pg_catalog.pg_proc as p
        where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any (%s)
            and p.prokind in ('f', 'a', 'w')
        union all
        select 'operator', o.oprname::text,
            array[format_type(o.oprleft, null), format_type(o.oprright, null)], false,
            format_type(o.oprresult, null)
        from pg_catalog.pg_operator as o
        where o.oprnamespace = 'pg_catalog'::regnamespace and o.oprname = any (%s)
            and o.oprkind = 'b'
        """,
        [list(words), list(operators)],
    ).fetchall():
        own.add((kind, name, tuple(declared)))
        for arguments, result in _variants(tuple(declared), returns, is_variadic=variadic):
            found[kind, name, arguments] = Trap(kind, name, arguments, result)
    return [trap for key, trap in found.items() if key not in own]


def _variants(
    declared: tuple[str, ...], returns: str, *, is_variadic: bool
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields argument types that PostgreSQL casts to the declared ones, and the result type."""
    kind = returns.rsplit(maxsplit=1)[-1]
    result = "text" if kind in ("internal", "record", "trigger") else returns
    if is_variadic and declared[-1] == '"any"':
        fixed = declared[:-1]
        for count in range(1, _MOST_ARGUMENTS + 1 - len(fixed)):
            # All combinations of up to three types; of more, those of texts and one other type.
            few = itertools.product(TYPES[:10], repeat=count) if count <= 2 else iter(())
            alike = (
                tuple("text" if n % 2 == 0 else other for n in range(count)) for other in TYPES
            )
            mixed = (("text",) * at + (other,) + ("text",) * (count - at - 1)
                     for other in TYPES for at in range(count))  # fmt: skip
            for rest in {*few, *alike, *mixed}:
                yield fixed + rest, result
        return
    polymorphic = [a for a in declared if a in _ONE or a in _MANY]
    if polymorphic:
        for one in (*TYPES, *ARRAYS):
            many = f"{one}[]" if not one.endswith("[]") else one
            arguments = tuple(many if a in _MANY else one if a in _ONE else a for a in declared)
            made = result.replace("anycompatiblearray", many).replace("anyarray", many)
            made = re.sub(
                r"\b(anycompatiblenonarray|anycompatible|anynonarray|anyelement)\b", one, made
            )
            yield arguments, "text" if "any" in made else made
        return
    choices = [(a, *NARROWER.get(a, ())) for a in declared]
    if len(declared) <= 3:
        for arguments in itertools.product(*choices):
            yield arguments, result
    else:
        for at, narrower in enumerate(choices):
            for other in narrower[1:]:
                yield (*declared[:at], other, *declared[at + 1 :]), result


def plant(connection: Connection, schema: str = "public") -> int:
    """Creates the traps in a schema, each callable by all; returns how many there are."""
    connection.execute(f"create sequence if not exists {schema}.sprung minvalue 0 start 0")
    connection.execute(f"create table if not exists {schema}.trap (n bigint, label text)")
    connection.execute(
        f"grant usage on schema {schema} to public; grant all on sequence {schema}.sprung to public"
    )
    made = []
    for number, trap in enumerate(traps(connection), start=1):
        function = trap.name if trap.kind == "function" else f"trap_{number}"
        body = (
            f"begin perform pg_catalog.setval('{schema}.sprung', {number}); "
            f"raise exception using message = $m$TRAP {trap.label}$m$; end"
        )
        made.append(
            f"create function {schema}.{function}({', '.join(trap.arguments)}) "
            f"returns {trap.returns} language plpgsql volatile as $trap$ {body} $trap$;"
            f"insert into {schema}.trap values ({number}, $l${trap.label}$l$);"
        )
        if trap.kind == "operator":
            made.append(
                f"create operator {schema}.{trap.name} (leftarg = {trap.arguments[0]}, "
                f"rightarg = {trap.arguments[1]}, function = {schema}.{function});"
            )
    for at in range(0, len(made), _PER_STATEMENT):
        # The catalogue's names only: planting must not call the traps that are already there.
        connection.execute(
            "begin; set local search_path = pg_catalog; set local check_function_bodies = off;"
            + "".join(made[at : at + _PER_STATEMENT])
            + "commit"
        )
    return len(made)


def sprung(connection: Connection, schema: str = "public") -> str | None:
    """Returns the trap that was called last, if any was."""
    row = connection.execute(
        f"select t.label from {schema}.sprung as s join {schema}.trap as t "
        "on t.n operator(pg_catalog.=) s.last_value"
    ).fetchone()
    return None if row is None else str(row[0])


# References of the ledger's objects to other schemas than the catalogue's and its own.
FOREIGN_REFERENCES = """
select distinct
    pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid),
    pg_catalog.pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
from pg_catalog.pg_depend as d
cross join lateral pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) as o
cross join lateral pg_catalog.pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) as r
where (o.schema operator(pg_catalog.=) 'record_ledger'
        or o.identity operator(pg_catalog.~) 'record_ledger[.]')
    and r.schema operator(pg_catalog.<>) all (array['record_ledger', 'pg_catalog']::text[])
    and r.schema is not null
"""

_BOUND = """
select pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0)
from pg_catalog.pg_depend as d
cross join lateral pg_catalog.pg_identify_object(d.refclassid, d.refobjid, 0) as o
where d.objid operator(pg_catalog.=) %s::regproc::oid
    and o.schema operator(pg_catalog.=) 'public'
"""


def bound_names(connection: Connection, name: str, signature: str, statement: str) -> list[str]:
    """Returns the objects of schema public that a statement is bound to.

    The statement becomes the body of a function `name`: the server records its dependencies.
    """
    with connection.transaction(force_rollback=True):
        connection.execute("create schema bound")
        try:
            connection.execute(f"create function bound.{signature} begin atomic {statement}; end")
        except psycopg.errors.SyntaxErrorOrAccessRuleViolation as error:
            return [str(error.diag.message_primary)]  # a trap's result type does not fit its place
        found = connection.execute(_BOUND, [f"bound.{name}"]).fetchall()
        return [str(row[0]) for row in found]
