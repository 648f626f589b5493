"""How targets call what is loaded and not published yet."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from record_ledger.moving.manifest import Manifest
    from record_ledger.values import Record

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
