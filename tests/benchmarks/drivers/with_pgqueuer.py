"""A driver of pgqueuer: enqueue one job, dequeue it, log it as done, by its own queries.

Its queue manager does the same three statements and more around them. The driver is asyncpg and
the event loop uvloop, which its documentation names as the fast ones.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from datetime import timedelta
from time import perf_counter

import asyncpg
import uvloop
from loop import serve_async
from pgqueuer.db import AsyncpgDriver
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.queries import Queries

ENTRYPOINTS = {"copy": EntrypointExecutionParameter(concurrency_limit=0)}
PAYLOAD = b'{"source_name": "elasticsearch", "target_name": "snowflake"}'


async def main(dsn: str, *, sets_up: bool) -> None:
    given = dict(pair.split("=", 1) for pair in dsn.split())
    connection = await asyncpg.connect(
        host=given["host"], port=int(given["port"]), user=given["user"], database=given["dbname"]
    )
    queries = Queries(AsyncpgDriver(connection))
    if sets_up:
        await queries.install()
        return
    manager = uuid.uuid4()

    async def item() -> float:
        await queries.enqueue("copy", PAYLOAD)
        jobs = []
        while not jobs:
            jobs = await queries.dequeue(1, ENTRYPOINTS, manager, None, timedelta(minutes=5))
        called = perf_counter()
        await queries.log_jobs([(job, "successful", None) for job in jobs])
        return called

    await serve_async(item)


asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
asyncio.run(main(sys.argv[1], sets_up=sys.argv[2] == "setup"))
