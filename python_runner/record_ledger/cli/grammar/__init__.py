"""The command line's grammar: commands, options and help texts. Imports nothing that is slow."""

from __future__ import annotations

import argparse
from typing import Any

from record_ledger.cli.terminal import put

from . import counts, keep, look, operate, pipeline, setup, trust, work
from .shared import common_options

_EPILOG = """\
exit codes: 0 proceed (or done), 99 nothing to do, 1 error (or a command of exec failed),
2 wrong usage

database: --dsn ('' for libpq's defaults), else --embedded, else RECORD_LEDGER_DSN, else libpq's
PGHOST, PGDATABASE ..., else the embedded server in RECORD_LEDGER_HOME; else an error
"""


def parser() -> argparse.ArgumentParser:
    """Returns the parser of `record-ledger`; its result names the module and function to call."""
    top = argparse.ArgumentParser(
        prog="record-ledger",
        description="Which time window of which pipeline is next, settled, complete and free.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[common_options()],
    )
    top.add_argument("--version", action=_Version, help="show the release and exit")
    commands = top.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for group in (setup, work, look, counts, operate, trust, pipeline, keep):
        group.add(commands)
    return top


class _Version(argparse.Action):
    """Looks the release up only when asked for: reading package metadata takes time."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "nargs": 0})

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from record_ledger.server.sql_files import package_release  # noqa: PLC0415 - see above

        put(f"record-ledger {package_release()}")
        parser.exit()
