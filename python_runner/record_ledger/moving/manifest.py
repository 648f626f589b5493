"""What is staged of a window: its parts with their rows, sizes and digests, and where they lie."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .errors import StagedDataDamaged

if TYPE_CHECKING:
    from record_ledger.records import Record

_FORMAT = 1
_CLAIM = re.compile(r"/c(\d+)/[^/]+\Z")


@dataclass(frozen=True)
class Part:
    """One staged file of documents: gzip, one JSON object per line.

    `name` is its name in the stage, `sha256` that of the compressed bytes, `checksum` what
    `Stage.checksum` answers as long as the file is unchanged.
    """

    name: str
    row_count: int
    byte_count: int
    sha256: str
    checksum: str


@dataclass(frozen=True)
class Manifest:
    """All that one claim has staged of a window. Its parts may be an earlier claim's."""

    pipeline_id: str
    window_start_time: str
    window_end_time: str
    generation: int
    claim_token: int
    parts: tuple[Part, ...]

    @property
    def row_count(self) -> int:
        """How many documents are staged."""
        return sum(part.row_count for part in self.parts)

    @property
    def byte_count(self) -> int:
        """How many compressed bytes are staged."""
        return sum(part.byte_count for part in self.parts)

    @property
    def digest(self) -> str:
        """Stands for the content: the same for the same parts, whichever claim staged them."""
        digests = "\n".join(f"{part.sha256} {part.row_count}" for part in self.parts)
        return hashlib.sha256(digests.encode("ascii")).hexdigest()

    def to_bytes(self) -> bytes:
        """Returns the manifest as it is staged."""
        content = {
            "format": _FORMAT,
            **asdict(self),
            "row_count": self.row_count,
            "byte_count": self.byte_count,
            "digest": self.digest,
        }
        return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode("utf-8")

    @staticmethod
    def from_bytes(data: bytes, name: str) -> Manifest:
        """Returns the manifest in a staged file.

        :raises StagedDataDamaged: when it holds none, or one whose totals do not fit its parts.
        """
        try:
            content: dict[str, Any] = json.loads(data)
            found = Manifest(
                pipeline_id=content["pipeline_id"],
                window_start_time=content["window_start_time"],
                window_end_time=content["window_end_time"],
                generation=content["generation"],
                claim_token=content["claim_token"],
                parts=tuple(Part(**part) for part in content["parts"]),
            )
            if content["format"] == _FORMAT and content["digest"] == found.digest:
                return found
            reason = "its format or its digest is another"
        except (ValueError, KeyError, TypeError) as error:
            reason = repr(error)
        raise StagedDataDamaged(f"{name} is no manifest that this release reads: {reason}")


class StagedNames:
    """The names of what one attempt stages: pipeline/window/generation/claim/file.

    Whoever finds a file knows whose it is, and no two attempts write to the same one: a claim may
    have several, when a task is retried, or is still running on a machine that was given up.
    """

    def __init__(self, record: Record) -> None:
        self._attempt = uuid.uuid4().hex[:8]
        self.pipeline_folder = f"{_as_folder(record['pipeline_id'])}/"
        start = record["window_start_time"].astimezone(dt.timezone.utc)
        # Windows begin at whole seconds, but for a start_at that somebody chose otherwise.
        stamp = start.strftime("%Y%m%dT%H%M%S") + (f".{start:%f}" if start.microsecond else "")
        self.window_folder = f"{self.pipeline_folder}{stamp}Z/"
        self._claim_token: int = record["claim_token"]
        self._folder = f"{self.window_folder}g{record['generation']}/c{self._claim_token}/"

    @staticmethod
    def longest(pipeline_id: str) -> str:
        """Returns a name that is as long as any that is staged of a pipeline."""
        names = StagedNames(
            {
                "pipeline_id": pipeline_id,
                "window_start_time": dt.datetime.max.replace(tzinfo=dt.timezone.utc),
                "generation": 2**31 - 1,
                "claim_token": 2**63 - 1,
            }
        )
        return names.part(10**9)

    @property
    def manifest(self) -> str:
        """The name of this attempt's manifest."""
        return f"{self._folder}manifest-{self._attempt}.json"

    def part(self, number: int) -> str:
        """Returns the name of this attempt's part."""
        return f"{self._folder}part-{self._attempt}-{number:05d}.json.gz"

    def is_later(self, name: str) -> bool:
        """Tells whether a staged file of the pipeline belongs to a later claim, or to nobody."""
        found = _CLAIM.search(name)
        return found is None or int(found[1]) > self._claim_token


def _as_folder(pipeline_id: str) -> str:
    """Returns a pipeline's name as one folder's name, different for different pipelines."""
    quoted = quote(pipeline_id, safe="")
    return quoted.replace(".", "%2E", 1) if quoted.startswith(".") else quoted
