"""Moves windows of data on top of the ledger: source, stage and target, with counts that add up.

`Move` does the work; what it moves from and to are classes of the protocols in `protocols`. Nothing
is imported before it is used: each source, stage and target needs a driver of its own.
"""

# ruff: noqa: I001 - a name that is imported `as` itself is one that is exported

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .definition import PipelineDefinition as PipelineDefinition
    from .protocols import document_line as document_line
    from .errors import (
        MoveFailed as MoveFailed,
        StagedDataDamaged as StagedDataDamaged,
    )
    from .extraction import PartSettings as PartSettings
    from .manifest import (
        Manifest as Manifest,
        Part as Part,
    )
    from .move import Move as Move
    from .protocols import (
        Published as Published,
        Source as Source,
        Stage as Stage,
        StartAgain as StartAgain,
        Target as Target,
    )

# Each public name and the module that has it. The imports above are the same for type checkers.
_MODULE_OF = {
    "PipelineDefinition": "definition",
    "document_line": "protocols",
    "MoveFailed": "errors",
    "StagedDataDamaged": "errors",
    "PartSettings": "extraction",
    "Manifest": "manifest",
    "Part": "manifest",
    "Move": "move",
    "Published": "protocols",
    "Source": "protocols",
    "Stage": "protocols",
    "StartAgain": "protocols",
    "Target": "protocols",
}

__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - derived from the table


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
