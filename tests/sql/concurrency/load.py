"""What the processes of test_many_processes.py do; a module of its own, so that they can import it."""

from __future__ import annotations

import random
from typing import Any

from tests.sql.support import complete, cycle, fail, pass_valid, release
from tests.support.databases import open_connection

Passed = tuple[str, str, int]


def work(
    dsn: str, configs: list[dict[str, Any]], passes: int, seed: int, only_complete: bool
) -> list[Passed]:
    """Passes that many records of the pipelines in turn and ends each; gives what it was passed."""
    chosen = random.Random(seed)
    taken: list[Passed] = []
    with open_connection(dsn) as connection:
        while len(taken) < passes:
            config = configs[(len(taken) + seed) % len(configs)]
            name = config["default_record"]["pipeline_id"]
            run = f"{seed}-{len(taken)}"
            if chosen.random() < 0.5:
                answer = cycle(connection, config, run)
            else:
                answer = pass_valid(connection, name, run)
            taken.append((name, answer.start.isoformat(), answer.token))
            ending = (
                complete if only_complete else chosen.choice([complete, complete, fail, release])
            )
            ending(connection, answer.token, pipeline_id=name)
    return taken
