"""What the columns of a PostgreSQL table are, beneath their domains, and how errors call them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.sql import SQL

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import Composable

# PostgreSQL cuts a longer name without an error, and then two names may be one.
_NAME_BYTES = 63
# Of a view, a partitioned or a foreign table as well. `beneath` is the name in pg_catalog of the
# type that the column has, or that its domain is over; a type of another schema has that before it.
_COLUMNS = SQL("""
with recursive column_type (attname, attnum, declared, collation_id, type_id, modifier) as (
    select
        a.attname, a.attnum, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attcollation,
        a.atttypid, a.atttypmod
    from pg_catalog.pg_attribute as a
    where a.attrelid operator(pg_catalog.=) pg_catalog.to_regclass(%(table)s)
        and a.attnum operator(pg_catalog.>) 0 and not a.attisdropped
    union all
    select
        c.attname, c.attnum, c.declared, c.collation_id,
        t.typbasetype, t.typtypmod
    from column_type as c
    join pg_catalog.pg_type as t on t.oid operator(pg_catalog.=) c.type_id
    where t.typtype operator(pg_catalog.=) 'd'
)
select
    c.attname, c.declared,
    case
        when n.nspname operator(pg_catalog.<>) 'pg_catalog'
            then pg_catalog.format('%%s.%%s', n.nspname, t.typname)
        else t.typname
    end as beneath,
    c.modifier,
    exists (
        select from pg_catalog.pg_attribute as a
        where a.attrelid operator(pg_catalog.=) pg_catalog.to_regclass(%(table)s)
            and a.attnum operator(pg_catalog.=) c.attnum
            and a.atttypid operator(pg_catalog.<>) c.type_id
    ) as is_domain,
    not exists (
        select from pg_catalog.pg_collation as o
        where o.oid operator(pg_catalog.=) c.collation_id and not o.collisdeterministic
    ) as is_deterministic
from column_type as c
join pg_catalog.pg_type as t on t.oid operator(pg_catalog.=) c.type_id
join pg_catalog.pg_namespace as n on n.oid operator(pg_catalog.=) t.typnamespace
where t.typtype operator(pg_catalog.<>) 'd'
order by c.attnum
""")


@dataclass(frozen=True)
class Column:
    """One column: the type that it is declared with, and the one `beneath` its domains.

    `modifier` is the type's, such as the length of a varchar and 4; -1 without one.
    `is_deterministic` is false where its collation takes different texts for the same.
    """

    declared: str
    beneath: str
    modifier: int
    is_domain: bool
    is_deterministic: bool

    def __str__(self) -> str:
        return f"{self.declared} ({self.beneath})" if self.is_domain else self.declared


def columns_of(connection: psycopg.Connection[Any], table: Composable) -> dict[str, Column]:
    """Returns the columns of a table by their names; none when there is no such table."""
    found = connection.execute(_COLUMNS, {"table": table.as_string(connection)})
    return {name: Column(*column) for name, *column in found}


def schema_and_name(table: str) -> tuple[str, str]:
    """Returns the parts of a table's name; without a schema it is one in `public`.

    A search_path decides nothing: that of another user's session would find another table.

    :raises ValueError: when a part is longer than what PostgreSQL keeps of it.
    """
    schema, _, name = table.rpartition(".")
    return checked_name(schema or "public"), checked_name(name)


def checked_name(name: str) -> str:
    """Returns a name that PostgreSQL keeps as it is.

    :raises ValueError: when it is longer.
    """
    if len(name.encode("utf-8", "surrogatepass")) > _NAME_BYTES:
        raise ValueError(
            f"{name!r} is longer than {_NAME_BYTES} bytes, and PostgreSQL would cut it; "
            "give a shorter name"
        )
    return name
