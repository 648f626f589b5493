"""Sends statements to the database of a PostgreSQL target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg
    from psycopg.sql import SQL, Composable, Composed


class PostgresCalls:
    """Sends statements on one connection, with the target's names put in."""

    def __init__(
        self, connection: psycopg.Connection[Any], names: Mapping[str, Composable]
    ) -> None:
        self.connection = connection
        self._names = names

    def __call__(
        self, statement: SQL, parameters: Mapping[str, Any] | None = None, **names: Composable
    ) -> Any:
        """Returns the cursor of one statement."""
        return self.connection.execute(self.composed(statement, **names), parameters)

    def composed(self, statement: SQL, **names: Composable) -> Composed:
        """Returns a statement with the names put in."""
        return statement.format(**self._names, **names)
