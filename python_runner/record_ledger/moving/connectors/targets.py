"""What targets share: what each has to refuse, and how it calls what is loaded."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from record_ledger.errors import ClaimLost, CountsDisagree
from record_ledger.moving.errors import MoveFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from record_ledger.moving.manifest import Manifest
    from record_ledger.values import Record


def window_of(record: Record) -> str:
    """Returns how messages call a record."""
    return f"pipeline {record['pipeline_id']}, window {record['window_start_time'].isoformat()}"


def key_of(record: Record) -> dict[str, Any]:
    """Returns what the targets' statements bind of a record."""
    return {
        "pipeline_id": record["pipeline_id"],
        "window_start_time": record["window_start_time"],
        "claim_token": record["claim_token"],
        "generation": record["generation"],
    }


def checked_columns(columns: Mapping[str, Any] | None) -> dict[str, str]:
    """Returns the columns that a target is given, each with its path in a document.

    :raises ValueError: when one is no path, or is a column that the target fills by itself.
    """
    for column, path in (columns or {}).items():
        if column in ("pipeline_id", "window_start_time"):
            raise ValueError(f"{column} is not valid; the column is filled from the record")
        if not isinstance(path, str) or not path:
            raise ValueError(
                f"{column}: {path!r} is not valid; it must be a path in a document, such as "
                "customer.id"
            )
    return dict(columns or {})


def later_claim(record: Record, target: str) -> ClaimLost:
    """Returns the error for a claim that is not the newest one at the target."""
    return ClaimLost(
        f"claim lost: a later claim than {record['claim_token']} of {window_of(record)} has begun "
        f"at {target}; nothing was changed there",
        hint="Stop working on this record: whoever holds its current token decides about it. Where "
        "nobody does, the ledger was moved to a server whose clock is behind: the target takes its "
        "claims once that clock has caught up.",
    )


def not_loaded(record: Record, manifest: Manifest, target: str) -> MoveFailed:
    """Returns the error for publishing what is not loaded, or not any more."""
    return MoveFailed(
        f"{window_of(record)}: claim {record['claim_token']} has not loaded the "
        f"{manifest.row_count} staged rows into {target}",
        hint="Load the window again, then publish it.",
    )


def check_rows(found: int, wanted: int, what: str) -> None:
    """Refuses another number of rows than the manifest's.

    :raises CountsDisagree: when they are not the same.
    """
    if found != wanted:
        raise CountsDisagree(
            f"{what}: {found} rows, but {wanted} are staged; nothing was published"
        )


_LOADED = re.compile(r"load_[0-9a-f]{16}_(?P<digest>[0-9a-f]{16})_(?P<claim_token>\d+)\Z")


def loaded_prefix(record: Record) -> str:
    """Returns how the names of all tables begin that claims on this window load into."""
    start = record["window_start_time"].timestamp()
    window = f"{record['pipeline_id']}\n{start:.6f}"
    return f"load_{hashlib.sha256(window.encode('utf-8', 'replace')).hexdigest()[:16]}_"


def loaded_name(record: Record, manifest: Manifest) -> str:
    """Returns the table that this claim loads this content into."""
    return f"{loaded_prefix(record)}{manifest.digest[:16]}_{record['claim_token']}"


def claim_of_loaded(name: str) -> int | None:
    """Returns the claim token in such a name; None when it is no such name."""
    found = _LOADED.match(name.lower())
    return None if found is None else int(found["claim_token"])


def holds_content(name: str, manifest: Manifest) -> bool:
    """Tells whether a table of that name was loaded from the same content."""
    found = _LOADED.match(name.lower())
    return found is not None and found["digest"] == manifest.digest[:16]
