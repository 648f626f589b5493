"""The trigger behind the sensor: looks at the ledger until it is worth asking for a record.

Imported by triggerers, and by the task that defers; never to parse a DAG.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from airflow.providers.common.compat.connection import get_async_connection
from airflow.triggers.base import BaseTrigger, TriggerEvent
from psycopg.rows import class_row

from record_ledger import queries
from record_ledger.connection import connect_async, resolve_conninfo
from record_ledger.server_errors import from_psycopg, is_retryable
from record_ledger.visible import visible

from .hooks import conninfo_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# A look that comes a moment before the instant it waited for would wait anew.
_AFTER = 0.05
# A look takes milliseconds; a database of several hosts may need some seconds for each.
_LONGEST_LOOK = 60.0


@dataclass(frozen=True)
class _Look:
    """What the ledger says of a pipeline: a new run's verdict and why, and when that can change.

    `is_due` tells that a window waits to be stored; `wait_seconds` is None when no instant is
    known at which a record can be ready.
    """

    verdict: str
    reason: str
    is_due: bool
    wait_seconds: float | None


class ValidRecordTrigger(BaseTrigger):
    """Fires when a run of the pipeline could be passed a record, or would store a window.

    Only looks, with one short connection per look: at the instants at which the ledger says that a
    record can be ready, and at least every `poke_interval` seconds. The task that it wakes asks the
    ledger itself, and may defer again. A database that is down is looked at again. `deadline` goes
    back to the task as it came.
    """

    def __init__(
        self,
        pipeline_id: str,
        conn_id: str | None,
        poke_interval: float = 60.0,
        deadline: str | None = None,
    ) -> None:
        super().__init__()
        self.pipeline_id = pipeline_id
        self.conn_id = conn_id
        self.poke_interval = poke_interval
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Returns how the triggerer makes this trigger again; no secret is among it."""
        return (
            "record_ledger.airflow.triggers.ValidRecordTrigger",
            {
                "pipeline_id": self.pipeline_id,
                "conn_id": self.conn_id,
                "poke_interval": self.poke_interval,
                "deadline": self.deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Looks until it is worth asking, then says why."""
        conninfo = await self._conninfo()
        first: _Look | None = None
        while True:
            try:
                look = await self._look(conninfo)
            except psycopg.Error as error:
                reason = from_psycopg(error).message
                if not is_retryable(error):
                    # The task that is woken meets the same error, and says what to do about it.
                    yield self._event(reason)
                    return
                self.log.warning(
                    "the ledger cannot be looked at, trying again: %s", visible(reason)
                )
                await asyncio.sleep(self.poke_interval)
                continue
            if _is_worth_asking(look, first):
                yield self._event(look.reason)
                return
            first = first or look
            await asyncio.sleep(self._pause(look))

    def _event(self, why: str) -> TriggerEvent:
        return TriggerEvent({"why": visible(why), "deadline": self.deadline})

    def _pause(self, look: _Look) -> float:
        if look.wait_seconds is None:
            return self.poke_interval
        return min(self.poke_interval, look.wait_seconds + _AFTER)

    async def _conninfo(self) -> str:
        if self.conn_id is None:
            return resolve_conninfo()
        return conninfo_of(await get_async_connection(self.conn_id), self.conn_id)

    async def _look(self, conninfo: str) -> _Look:
        try:
            look = await asyncio.wait_for(self._row(conninfo), _LONGEST_LOOK)
        except asyncio.TimeoutError:
            # A server that is frozen keeps its connections open, and silent.
            raise psycopg.OperationalError(f"no answer within {_LONGEST_LOOK:g} s") from None
        return look or _Look("NO_PIPELINE", "the pipeline is not registered", True, None)

    async def _row(self, conninfo: str) -> _Look | None:
        connection = await connect_async(conninfo)
        cursor = connection.cursor(row_factory=class_row(_Look), binary=True)
        async with connection, cursor:
            await cursor.execute(queries.NEXT_LOOK, [self.pipeline_id])
            return await cursor.fetchone()


def _is_worth_asking(look: _Look, first: _Look | None) -> bool:
    """Tells whether a run would get something now that the task, just before, did not.

    The task asks before it defers. So what the first look sees beside a READY record has been
    asked about: a window that is due, which a paused pipeline leaves. Later, a window became due.
    What waits to be built is READY.
    """
    if look.verdict == "READY":
        return True
    if first is None:
        return False
    return look.is_due
