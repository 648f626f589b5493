"""A pipeline definition: the ledger's config, and what its windows are moved from and to."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from record_ledger.config import KNOWN_KEYS, invalid_config
from record_ledger.errors import LedgerError

from .evidence import REQUIRED_COUNTS
from .extraction import PartSettings
from .move import Move
from .protocols import SOURCES, STAGES, TARGETS
from .settings import Settings, WrongSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from record_ledger.client import RecordLedger

_GROUPS = {"source": SOURCES, "stage": STAGES, "target": TARGETS}
_MEBIBYTE = 1024 * 1024
_SHORTEST_KEY = 16


class PipelineDefinition:
    """What one file says about a pipeline.

    A dict with the ledger's config, and the tables `source`, `stage` and `target`. Each has a
    `kind`, the name of an entry point, and what that one reads. [stage] also has `part_mib` (64),
    the size of a part, `compression` (1 to 9, 1), `keep_days`, and `signing_key`, which signs
    manifests: a secret that all workers of the pipeline have, and no other user of the stage.

    `config` is for the ledger. Completing a record depends on the counts of source, stage and
    target, unless the definition has `required_counts` of its own.
    """

    def __init__(self, definition: Mapping[str, Any]) -> None:
        if not isinstance(definition, Mapping):
            raise invalid_config([f"{definition!r} is not valid; it must be a dict or a table"])
        self._tables = {name: definition.get(name) for name in _GROUPS}
        self._others = [str(key) for key in definition if key not in (*_GROUPS, *KNOWN_KEYS)]
        config = {key: value for key, value in definition.items() if key not in _GROUPS}
        self.config: dict[str, Any] = {"required_counts": REQUIRED_COUNTS, **config}

    def move(
        self,
        ledger: RecordLedger,
        progress: Callable[[int], object] | None = None,
        check_work: Callable[[], object] | None = None,
    ) -> Move:
        """Returns what moves the pipeline's windows; connects to nothing yet.

        :raises InvalidConfig: naming all that is wrong with the three tables.
        """
        problems: list[str] = []
        made: dict[str, Any] = {}
        stage = Settings(self._tables["stage"], "stage")
        parts = PartSettings(
            stage.number("part_mib", 64) * _MEBIBYTE, stage.number("compression", 1, 1, 9)
        )
        keep_days = stage.number("keep_days", None, 0)
        signing_key = stage.text("signing_key", None)
        if signing_key is not None and len(signing_key) < _SHORTEST_KEY:
            stage.problem(
                "signing_key", f"is too short; it must be a text of {_SHORTEST_KEY} or more"
            )
        for name, group in _GROUPS.items():
            if self._tables[name] is None:
                problems.append(f"{name}: is missing; it must be a table{self._meant(name)}")
                continue
            settings = stage if name == "stage" else Settings(self._tables[name], name)
            try:
                made[name] = _factory(settings, group)(settings, ledger)
                settings.check()  # a factory may have forgotten to
            except WrongSettings as error:
                problems += error.problems
        if problems:
            raise invalid_config(problems)
        return Move(
            ledger,
            made["source"],
            made["stage"],
            made["target"],
            parts=parts,
            keep_days=keep_days,
            signing_key=signing_key,
            progress=progress,
            check_work=check_work,
        )

    def _meant(self, name: str) -> str:
        """Returns the question whether a table of a name like this one was meant."""
        near = get_close_matches(name, self._others, 1)
        return f"; is {near[0]!r} meant to be it?" if near else ""


def _factory(settings: Settings, group: str) -> Any:
    kind = settings.text("kind")
    found = {point.name: point for point in entry_points(group=group)}
    if kind in found:
        try:
            return found[kind].load()
        except ImportError as error:
            raise LedgerError(
                f"{settings.name} of kind {kind} cannot be imported: {error}",
                hint=f"It may need an extra: install record-ledger[{kind}].",
            ) from error
    if kind:
        settings.problem(
            "kind", f"{kind!r} is not valid; it must be one of {', '.join(sorted(found))}"
        )
    raise WrongSettings(settings.problems)
