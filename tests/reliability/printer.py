"""The command of an exec whose output is looked at: python -m tests.reliability.printer FOLDER LINES

Prints lines that name its claim, writes down that it has finished, and ends with 0. Whether all of it has
reached where the exec writes to is not its to know.
"""

from __future__ import annotations

import os
import signal
import sys

from tests.reliability.journal import SUFFIX, Journal


def main() -> int:
    # As seq and most commands do; Python itself would not.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    token = int(os.environ["RECORD_LEDGER_CLAIM_TOKEN"])
    about = {
        "pipeline_id": os.environ["RECORD_LEDGER_PIPELINE_ID"],
        "window_start_time": os.environ["RECORD_LEDGER_WINDOW_START_TIME"],
        "claim_token": token,
        "run_id": os.environ["RECORD_LEDGER_RUN_ID"],
    }
    journal = Journal(f"{sys.argv[1]}/printer-{about['pipeline_id']}-{token}{SUFFIX}")
    journal.add("began", **about)
    sys.stdout.write("".join(line_of(token, n) for n in range(int(sys.argv[2]))))
    sys.stdout.flush()
    journal.add("finished", **about)
    return 0


def line_of(token: int, number: int) -> str:
    return f"{token:020d} {number:09d}\n"


if __name__ == "__main__":
    sys.exit(main())
