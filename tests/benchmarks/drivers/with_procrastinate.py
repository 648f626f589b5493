"""A driver of procrastinate: defer one job, fetch it, finish it, by its own job manager.

Its worker does the same three statements and more around them. One connection in its pool; its
finished jobs stay in its table, as they do by default.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from time import perf_counter

import procrastinate
from loop import serve_async
from procrastinate.jobs import Status


async def main(dsn: str, *, sets_up: bool) -> None:
    connector = procrastinate.PsycopgConnector(conninfo=dsn, min_size=1, max_size=1)
    app = procrastinate.App(connector=connector)

    @app.task(queue="bench", name="copy")
    def copy(source_name: str, target_name: str) -> None:
        """Stands for the work."""

    async with app.open_async():
        if sets_up:
            await app.schema_manager.apply_schema_async()
            return
        manager = app.job_manager
        worker = await manager.register_worker()

        async def item() -> float:
            await copy.defer_async(source_name="elasticsearch", target_name="snowflake")
            job = None
            while job is None:
                job = await manager.fetch_job(["bench"], worker)
            called = perf_counter()
            await manager.finish_job(job, Status.SUCCEEDED, delete_job=False)
            return called

        await serve_async(item)


# It warns that the app lives in the main module, which matters to a worker that imports it.
logging.getLogger("procrastinate").setLevel(logging.ERROR)
asyncio.run(main(sys.argv[1], sets_up=sys.argv[2] == "setup"))
