"""The command that the chaos gives to `record-ledger exec`: python -m tests.reliability.task FOLDER

Writes down that it begins and ends. It finishes, breaks or dies by its claim token; about one in five breaks.
"""

from __future__ import annotations

import os
import random
import sys
import time

from tests.reliability.journal import SUFFIX, Journal


def main() -> int:
    token = int(os.environ["RECORD_LEDGER_CLAIM_TOKEN"])
    about = {
        "pipeline_id": os.environ["RECORD_LEDGER_PIPELINE_ID"],
        "window_start_time": os.environ["RECORD_LEDGER_WINDOW_START_TIME"],
        "claim_token": token,
        "run_id": os.environ["RECORD_LEDGER_RUN_ID"],
    }
    journal = Journal(f"{sys.argv[1]}/task-{token}{SUFFIX}")
    journal.add("began", **about)
    chosen = random.Random(token)
    time.sleep(chosen.uniform(0, 0.4))
    if chosen.random() < 0.2:
        journal.add("gave up", **about)
        return 1
    journal.add("finished", **about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
