"""Reads a config from a JSON or TOML file."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

from .common import read_text, shown_name
from .exits import CommandError

# The standard library reads TOML from 3.11 on; before, its forerunner of the same interface does.
tomllib: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


def read_config(name: str) -> Any:
    """Returns the config in a file; the name's ending says whether it is JSON or TOML.

    Standard input (-) and other endings are read as JSON when they begin with a brace, else as
    TOML.

    :raises CommandError: when the file cannot be read or is neither.
    """
    text = read_text(name)
    is_json = name.endswith(".json") or (
        not name.endswith(".toml") and text.lstrip()[:1] in ("{", "[")
    )
    kind = "JSON" if is_json else "TOML"
    try:
        return json.loads(text) if is_json else tomllib.loads(text)
    except ValueError as error:
        raise CommandError(f"{shown_name(name)} is not valid {kind}: {error}") from error
    except RecursionError as error:
        raise CommandError(f"{shown_name(name)} is nested too deeply") from error
