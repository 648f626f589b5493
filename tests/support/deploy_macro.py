"""Writes the dbt macro that holds the deploy script, from sql/.

    uv run python -m tests.support.deploy_macro

Run it after every change in sql/ and of the release; tests/dbt/operations/test_deploy.py compares.
"""

from __future__ import annotations

import re

from record_ledger.server.sql_files import deploy_script, package_release
from tests.support.repository import ROOT

COMMAND = "uv run python -m tests.support.deploy_macro"
MACRO_FILE = ROOT / "dbt_project" / "macros" / "deploy_script.sql"

_TEMPLATE = """\
{{# Generated from sql/ by `{command}`: change the files there. #}}
{{% macro deploy_script() -%}}
{{% raw %}}
{script}
{{%- endraw %}}
{{%- endmacro %}}
"""


def macro(script: str) -> str:
    """Returns the macro `deploy_script`, which renders to `script` but for blanks at its ends.

    :raises ValueError: when the script would end the block in which Jinja leaves it alone.
    """
    if re.search(r"\{%[-+]?\s*endraw", script):
        raise ValueError("a file under sql/ holds Jinja's endraw, which a dbt macro cannot hold")
    return _TEMPLATE.format(command=COMMAND, script=script.strip("\n"))


def current_macro() -> str:
    """Returns what the macro's file must hold: the script of `record-ledger deploy --print-sql`."""
    return macro(deploy_script(package_release()))


if __name__ == "__main__":
    MACRO_FILE.write_text(current_macro(), encoding="utf-8")
