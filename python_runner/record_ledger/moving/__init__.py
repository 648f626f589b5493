"""Moves windows of data on top of the ledger: source, stage and target, with counts that add up.

`Move` does the work; what it moves from and to are classes of the protocols in `protocols`. Nothing
is imported before it is used: each source, stage and target needs a driver of its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .definition import PipelineDefinition
    from .documents import document_line
    from .errors import MoveFailed, StagedDataDamaged
    from .extraction import PartSettings
    from .manifest import Manifest, Part
    from .move import Move
    from .protocols import Published, Source, Stage, StartAgain, Target

_MODULES = {
    "definition": ("PipelineDefinition",),
    "documents": ("document_line",),
    "errors": ("MoveFailed", "StagedDataDamaged"),
    "extraction": ("PartSettings",),
    "manifest": ("Manifest", "Part"),
    "move": ("Move",),
    "protocols": ("Published", "Source", "Stage", "StartAgain", "Target"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Manifest",
    "Move",
    "MoveFailed",
    "Part",
    "PartSettings",
    "PipelineDefinition",
    "Published",
    "Source",
    "Stage",
    "StagedDataDamaged",
    "StartAgain",
    "Target",
    "document_line",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
