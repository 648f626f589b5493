"""Separate environments for what the ledger is measured against; its own gets nothing new.

The package managers' ordinary commands make each anew. Where that fails (no network, no node), the
measurement is left out, and a line says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TIMEOUT = 300.0


class Unavailable(Exception):
    """Something cannot be installed on this machine."""


class Environments:
    """A folder with one environment for each name that was asked for."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rl-bench-"))

    def python(self, name: str, *requirements: str) -> Path:
        """Returns the folder of the commands of a virtual environment with these packages.

        :raises Unavailable: when they cannot be installed.
        """
        folder = self.folder / name
        if not folder.exists():
            uv = os.environ.get("UV", "uv")
            _run(name, uv, "venv", "--quiet", "--python", sys.executable, str(folder))
            _run(name, uv, "pip", "install", "--quiet", "--python", str(folder), *requirements)
        return folder / ("Scripts" if os.name == "nt" else "bin")

    def node(self, name: str, *requirements: str) -> Path:
        """Returns the folder of the modules of npm packages.

        :raises Unavailable: when there is no node, or they cannot be installed.
        """
        if shutil.which("node") is None or shutil.which("npm") is None:
            raise Unavailable(f"{name}: there is no node on this machine")
        folder = self.folder / name
        if not folder.exists():
            quiet = ("--silent", "--no-audit", "--no-fund")
            _run(name, "npm", "install", *quiet, "--prefix", str(folder), *requirements)
        return folder / "node_modules"

    def remove(self) -> None:
        """Deletes all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)


def version(commands: Path, package: str) -> str:
    """Returns which version of a package an environment has."""
    code = f"from importlib.metadata import version; print(version('{package}'))"
    return subprocess.run(
        [commands / "python", "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def _run(name: str, *command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{name}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{name}: {said[-1] if said else f'{command[0]} failed'}")
