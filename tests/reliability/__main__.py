"""Breaks runners, tasks, servers, networks and disks under a ledger at work, and audits it.

    uv run python -m tests.reliability [--minutes 7] [--seed N] [--only NAME ...] [--json FILE]

Ends with 1 when a rule was broken. The same seed draws the same histories and faults; when exactly a
fault meets a process is the machine's chance. Folders with a violation's journals stay.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.reliability.chaos import run_chaos
from tests.reliability.failover import run_async_failover, run_failover
from tests.reliability.frozen_primary import run_frozen_primary
from tests.reliability.full_disk import run_full_disk
from tests.reliability.histories import run_histories
from tests.reliability.logical import run_logical
from tests.reliability.outputs import run_outputs
from tests.reliability.report import as_json, print_line, print_table
from tests.reliability.restore import run_restore
from tests.reliability.sessions import run_read_only, run_sessions

# Each with its part of MINUTES, in seconds: of another time it gets as large a share.
MINUTES = 7.0
SCENARIOS = {
    "histories": (run_histories, 45),
    "chaos": (run_chaos, 75),
    "restore": (run_restore, 35),
    "full-disk": (run_full_disk, 25),
    "failover": (run_failover, 35),
    "failover-async": (run_async_failover, 35),
    "frozen-primary": (run_frozen_primary, 45),
    "logical": (run_logical, 40),
    "sessions": (run_sessions, 30),
    "read-only": (run_read_only, 25),
    "outputs": (run_outputs, 30),
}


def main() -> int:
    """Runs the scenarios one after another, prints what they counted, and says whether all held."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        help=f"in all, about; divided among the scenarios (default: {MINUTES:g})",
    )
    parser.add_argument(
        "--seed", type=int, help="to do the same again (default: drawn, and printed)"
    )
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there as well")
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if args.seed is None else args.seed
    share_of_all = sum(SCENARIOS[name][1] for name in args.only)
    folder = Path(tempfile.mkdtemp(prefix="rl-reliability-"))
    # Servers and poolers may be another user's.
    folder.chmod(0o755)
    results = []
    # Ended like that, too, it ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {seed}, {args.minutes:g} minutes: {', '.join(args.only)}", flush=True)
    try:
        for name in args.only:
            scenario, share = SCENARIOS[name]
            place = folder / name
            place.mkdir()
            seconds = args.minutes * 60 * share / share_of_all
            result = scenario(place, seed, seconds)
            print_line(name, result, seconds)
            results.append(result)
    finally:
        broken = any(result.violations for result in results)
        if broken:
            print(f"the processes' journals and output are in {folder}")
        else:
            shutil.rmtree(folder)
    print_table(seed, results)
    if args.json is not None:
        args.json.write_text(json.dumps(as_json(seed, results), indent=1) + "\n", encoding="utf-8")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
