"""What is staged of a window: its parts with their rows, sizes and digests, and where they lie."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import re
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .errors import READ_AGAIN, StagedDataDamaged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from record_ledger.values import Record

_FORMAT = 1
_CLAIM = re.compile(r"/c(\d+)/[^/]+\Z")
# What any claim stages below the folder of its generation: its manifest and its parts.
_STAGED = r"c[0-9]+/(?:manifest-[0-9a-f]{8}\.json|part-[0-9a-f]{8}-[0-9]{5,}\.json\.gz)"


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

    def to_bytes(self, signing_key: str | None = None) -> bytes:
        """Returns the manifest as it is staged, signed when there is a key."""
        content = {
            "format": _FORMAT,
            **asdict(self),
            "row_count": self.row_count,
            "byte_count": self.byte_count,
            "digest": self.digest,
        }
        if signing_key is not None:
            content["signature"] = _signature(content, signing_key)
        return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode("utf-8")

    @staticmethod
    def from_bytes(data: bytes, name: str, signing_key: str | None = None) -> Manifest:
        """Returns the manifest in a staged file.

        With a key, only a manifest that was signed with it: whoever can write to the stage and to
        the ledger, and does not know the key, cannot make one.

        :raises StagedDataDamaged: when it holds none, or one whose totals do not fit its parts, or
            one that is not signed with the key.
        """
        try:
            content: dict[str, Any] = json.loads(data)
            signature = content.pop("signature", None)
            if signing_key is not None and not hmac.compare_digest(
                str(signature), _signature(content, signing_key)
            ):
                raise StagedDataDamaged(
                    f"{name} is not signed with the signing_key of this stage", hint=READ_AGAIN
                )
            found = Manifest(
                pipeline_id=content["pipeline_id"],
                window_start_time=content["window_start_time"],
                window_end_time=content["window_end_time"],
                generation=content["generation"],
                claim_token=content["claim_token"],
                parts=tuple(Part(**part) for part in content["parts"]),
            )
            stated = [content[key] for key in ("format", "row_count", "byte_count", "digest")]
            if stated == [_FORMAT, found.row_count, found.byte_count, found.digest]:
                return found
            reason = "its format, its totals or its digest is another"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = repr(error)
        raise StagedDataDamaged(
            f"{name} is not a manifest that this release reads: {reason}", hint=READ_AGAIN
        )

    def check_record(self, record: Record, names: StagedNames, name: str) -> None:
        """Refuses a manifest that is not this record's own; `name` is what errors call it.

        The ledger knows a manifest by what a run has noted, and any run may note a count. So what
        it leads to is believed only where it lies in the record's own folder and names the
        record's own pipeline, window and generation.

        :raises StagedDataDamaged: naming what differs.
        """
        wrong = [
            what
            for what, found, wanted in (
                ("pipeline_id", self.pipeline_id, record["pipeline_id"]),
                (
                    "window_start_time",
                    _instant(self.window_start_time),
                    record["window_start_time"],
                ),
                ("window_end_time", _instant(self.window_end_time), record["window_end_time"]),
                ("generation", self.generation, record["generation"]),
            )
            if found != wanted
        ]
        wrong += [repr(part.name) for part in self.parts if not names.holds(part.name)]
        if wrong:
            raise StagedDataDamaged(
                f"{name} is not the manifest of this record: it differs in {', '.join(wrong)}",
                hint=READ_AGAIN,
            )


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
        generation_folder = f"{self.window_folder}g{record['generation']}/"
        self._folder = f"{generation_folder}c{self._claim_token}/"
        self._own = re.compile(re.escape(generation_folder) + _STAGED)

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

    def holds(self, name: object) -> bool:
        """Tells whether this is the name of a file that a claim on this generation may stage."""
        return isinstance(name, str) and self._own.fullmatch(name) is not None

    def is_later(self, name: str) -> bool:
        """Tells whether a staged file of the pipeline belongs to a later claim, or to nobody."""
        found = _CLAIM.search(name)
        return found is None or int(found[1]) > self._claim_token


def _signature(content: Mapping[str, Any], signing_key: str) -> str:
    """Returns the HMAC-SHA256 of a manifest's content, however it is laid out."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hmac.new(signing_key.encode("utf-8"), text.encode("utf-8"), "sha256").hexdigest()


def _instant(text: object) -> dt.datetime | None:
    """Returns the instant that a manifest's text names; None when it names none."""
    try:
        found = dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _as_folder(pipeline_id: str) -> str:
    """Returns a pipeline's name as one folder's name, different for different pipelines."""
    quoted = quote(pipeline_id, safe="")
    return quoted.replace(".", "%2E", 1) if quoted.startswith(".") else quoted
