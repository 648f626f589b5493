"""Moves one window: from the source to the stage, from there to the target, each step counted."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from record_ledger import logs
from record_ledger.errors import CountsDisagree

from .errors import READ_AGAIN, MoveFailed, StagedDataDamaged
from .evidence import LOAD, SOURCE, STAGE, TARGET, Evidence
from .extraction import PartSettings, extract_parts
from .manifest import Manifest, StagedNames
from .staged import check_staged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from record_ledger.client import RecordLedger
    from record_ledger.values import Record

    from .manifest import Part
    from .protocols import Source, Stage, Target

_CHUNK = 1 << 20
_DAY = 86400.0


class Move:
    """Moves windows from a source by a stage to a target; each phase may be repeated.

    The phases are `extract`, `load` and `publish`; `run` does what is left of them. Each takes the
    record that was passed and finds what the one before it left, so they may be tasks of their own
    on different machines. Each is noted in the ledger with its count when it is done, under the
    record's claim: a claim that was lost can note nothing.

    A later claim on the same generation goes on after the last phase that was noted, when that
    still holds: the source has as many documents, and each staged part its checksum. It takes the
    parts over in a manifest of its own.

    Staged files are kept for `keep_days`: for ever when it is None, until their window is published
    when it is 0. With a `signing_key` manifests are signed, and others are not believed.
    `progress(rows)` is called while the source is read, `check_work()` before each phase of `run`.
    Both may raise to stop, as `Processing.check` does. What is published is then as it was.
    """

    def __init__(
        self,
        ledger: RecordLedger,
        source: Source,
        stage: Stage,
        target: Target,
        *,
        parts: PartSettings | None = None,
        keep_days: float | None = None,
        signing_key: str | None = None,
        progress: Callable[[int], object] | None = None,
        check_work: Callable[[], object] | None = None,
    ) -> None:
        self._evidence = Evidence(ledger)
        self._source = source
        self._stage = stage
        self._target = target
        self._parts = parts or PartSettings()
        self._keep_days = keep_days
        self._signing_key = signing_key
        self._progress = progress or (lambda _rows: None)
        self._check_work = check_work or (lambda: None)

    def check(self, pipeline_id: str) -> None:
        """Refuses what no window could be moved by; to be called before a record is passed.

        Source, stage and target look at what they are given: tables, the types of their columns,
        names. Nothing is written that stays.

        :raises MoveFailed: naming what does not fit, and what to do.
        """
        for part, argument in (
            (self._source, pipeline_id),
            (self._stage, StagedNames.longest(pipeline_id)),
            (self._target, pipeline_id),
        ):
            # Those of one's own need not have it.
            check = getattr(part, "check", None)
            if check is not None:
                check(argument)

    def run(self, record: Record) -> dict[str, Any]:
        """Does what is left to do of a window; returns its rows and what was done.

        :raises ClaimLost: when the record was passed to another run.
        :raises MoveFailed: when counts or digests are not what they have to be.
        """
        rows = self.published_rows(record)
        if rows is not None:
            self.clean(record)
            return {"rows": rows, "published": "before"}
        self._check_work()
        manifest = self.extract(record)
        self._check_work()
        self.load(record)
        self._check_work()
        self.publish(record)
        self.clean(record)
        return {"rows": manifest.row_count, "published": "now"}

    def published_rows(self, record: Record) -> int | None:
        """Returns the rows that this generation has published already; None: there is work to do.

        They count only while the source has as many documents. From here on no earlier claim can
        publish the window.
        """
        published = self._target.begin(record)
        staged = self._evidence.newest(record, STAGE)
        if published is None or staged is None or published.generation != record["generation"]:
            return None
        if published.digest != staged["detail"].get("digest"):
            return None
        if not published.row_count == staged["row_count"] == self._source.count(record):
            return None
        self._evidence.note(record, SOURCE, published.row_count)
        for stage in (STAGE, LOAD):
            self._evidence.adopt(record, stage)
        self._evidence.note(record, TARGET, published.row_count, {"digest": published.digest})
        return published.row_count

    def extract(self, record: Record) -> Manifest:
        """Stages the window, unless that was done and still holds; returns its manifest.

        :raises CountsDisagree: when the source has another number of documents afterwards.
        :raises MoveFailed: when the source could not be read, or nothing be staged.
        """
        names = StagedNames(record)
        self._target.begin(record)
        with _timed("extract", record) as done:
            count = self._source.count(record)
            manifest = self._staged_before(record, count)
            done["adopted"] = manifest is not None
            if manifest is None:
                parts = extract_parts(
                    lambda: self._source.read(record),
                    names,
                    self._stage,
                    self._parts,
                    self._progress,
                )
                manifest = _manifest(record, parts)
                count = self._source.count(record)
                if count != manifest.row_count:
                    raise CountsDisagree(
                        f"{manifest.row_count} documents were read of pipeline "
                        f"{manifest.pipeline_id}, window {manifest.window_start_time}, and the "
                        f"source has {count} afterwards: its data has not settled",
                        hint="The next attempt reads the window again; a longer x_time_back gives "
                        "late data more time.",
                    )
            digest = self._write(names, manifest)
            done.update(rows=manifest.row_count, bytes=manifest.byte_count)
        self._evidence.note(record, SOURCE, count)
        self._evidence.note(
            record,
            STAGE,
            manifest.row_count,
            {
                "manifest": names.manifest,
                "sha256": digest,
                "bytes": manifest.byte_count,
                "parts": len(manifest.parts),
                "digest": manifest.digest,
            },
        )
        self._remove_earlier(names, manifest)
        return manifest

    def load(self, record: Record) -> int:
        """Loads what is staged beside the published data; returns its rows."""
        with _timed("load", record) as done:
            manifest = self._own_manifest(record)
            rows = self._target.load(record, manifest, self._stage)
            if rows != manifest.row_count:
                raise CountsDisagree(f"{rows} of {manifest.row_count} staged rows were loaded")
            done["rows"] = rows
        self._evidence.note(record, LOAD, rows, {"digest": manifest.digest})
        return rows

    def publish(self, record: Record) -> int:
        """Replaces the window at the target by what is loaded; returns its rows."""
        with _timed("publish", record) as done:
            manifest = self._own_manifest(record)
            rows = self._target.publish(record, manifest)
            done["rows"] = rows
        self._evidence.note(record, TARGET, rows, {"digest": manifest.digest})
        return rows

    def clean(self, record: Record) -> None:
        """Removes what nobody needs once the window is published, and staged files of age."""
        names = StagedNames(record)
        self._target.clean(record)
        if self._keep_days == 0:
            self._stage.remove(names.window_folder, lambda name, _: names.is_later(name))
        elif self._keep_days is not None:
            longest = self._keep_days * _DAY
            self._stage.remove(
                names.pipeline_folder, lambda name, age: age < longest or names.is_later(name)
            )

    # ---------------------------------------------------------------- what is staged
    def _staged_before(self, record: Record, count: int) -> Manifest | None:
        """Returns what is staged of this generation, as this claim's own, when it still holds."""
        noted = self._evidence.newest(record, STAGE)
        if noted is None or noted["row_count"] != count:
            return None
        try:
            manifest = self._read_manifest(record, noted["detail"])
            for part in manifest.parts:
                check_staged(part, self._stage)
        except StagedDataDamaged as error:
            logs.logger.warning(logs.line(event="staged_data_not_used", reason=error.message))
            return None
        return replace(manifest, claim_token=record["claim_token"])

    def _own_manifest(self, record: Record) -> Manifest:
        """Returns the manifest that this claim has staged last."""
        noted = self._evidence.newest(record, STAGE)
        if noted is None or noted["claim_token"] != record["claim_token"]:
            raise MoveFailed(
                f"claim {record['claim_token']} of pipeline {record['pipeline_id']} has staged "
                "nothing that could be loaded",
                hint="Extract the window first.",
            )
        return self._read_manifest(record, noted["detail"])

    def _write(self, names: StagedNames, manifest: Manifest) -> str:
        """Stores the manifest, after all of its parts, and returns its digest."""
        data = manifest.to_bytes(self._signing_key)
        # A try whose answer was lost may have stored it; nobody else writes to that name.
        if not self._stage.write_once(names.manifest, data) and self._read(names.manifest) != data:
            raise StagedDataDamaged(f"{names.manifest} was written by somebody else")
        return hashlib.sha256(data).hexdigest()

    def _read_manifest(self, record: Record, noted: Mapping[str, Any]) -> Manifest:
        """Returns the record's manifest, which the ledger knows by name and digest."""
        if "manifest" not in noted:
            raise StagedDataDamaged(
                f"the newest count of the stage `{STAGE}` was not noted by a move",
                hint=f"Note counts of your own under another name than `{STAGE}`.",
            )
        names, name = StagedNames(record), noted["manifest"]
        # Any run may note a count with a detail of its own: the name must be this record's.
        if not names.holds(name):
            raise StagedDataDamaged(
                f"{name!r} was noted as the manifest, and does not lie in this record's own folder",
                hint=READ_AGAIN,
            )
        data = self._read(name)
        if hashlib.sha256(data).hexdigest() != noted.get("sha256"):
            raise StagedDataDamaged(f"{name} is not what was staged", hint=READ_AGAIN)
        manifest = Manifest.from_bytes(data, name, self._signing_key)
        manifest.check_record(record, names, name)
        return manifest

    def _read(self, name: str) -> bytes:
        data = bytearray()
        try:
            with self._stage.open(name) as file:
                while chunk := file.read(_CHUNK):
                    data += chunk
        except FileNotFoundError:
            raise StagedDataDamaged(f"{name} is not there") from None
        return bytes(data)

    def _remove_earlier(self, names: StagedNames, manifest: Manifest) -> None:
        """Removes what earlier attempts have staged of the window and nobody needs."""
        needed = {names.manifest, *(part.name for part in manifest.parts)}
        self._stage.remove(
            names.window_folder, lambda name, _: name in needed or names.is_later(name)
        )


def _manifest(record: Record, parts: tuple[Part, ...]) -> Manifest:
    return Manifest(
        pipeline_id=record["pipeline_id"],
        window_start_time=record["window_start_time"].isoformat(),
        window_end_time=record["window_end_time"].isoformat(),
        generation=record["generation"],
        claim_token=record["claim_token"],
        parts=parts,
    )


def _timed(phase: str, record: Record) -> Any:
    return logs.timed(
        phase,
        pipeline_id=record["pipeline_id"],
        window=record["window_start_time"],
        claim_token=record["claim_token"],
    )
