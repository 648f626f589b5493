"""The repository for its own tests: its root, its files and their texts."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What tools leave in a checkout, as .gitignore names it.
LEFT_BEHIND = (
    ".git", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".user.yml", ".venv",
    "__pycache__", "build", "dbt_packages", "dist", "logs", "record-ledger-demo", "target",
    "uv.lock",
)  # fmt: skip


@lru_cache(maxsize=1)
def files() -> tuple[Path, ...]:
    """Returns the paths of the repository's files from its root, also of uncommitted ones."""
    if shutil.which("git") is not None and (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if listed.returncode == 0:
            paths = (Path(name) for name in listed.stdout.split("\0") if name)
            return tuple(sorted(path for path in paths if (ROOT / path).is_file()))
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return tuple(sorted(path for path in found if not set(path.parts) & set(LEFT_BEHIND)))


def text(path: Path) -> str:
    """Returns a file's text, also of a compressed file."""
    if path.suffix == ".gz":
        return gzip.decompress((ROOT / path).read_bytes()).decode("utf-8")
    return (ROOT / path).read_text(encoding="utf-8")


def copy_to(folder: Path) -> Path:
    """Copies the repository's files into `folder`, as a fresh clone would, and returns it."""
    for path in files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / path)
    return folder
