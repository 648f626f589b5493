"""The ledger's rules once more, naively: every record is looked at for every question.

Knows nothing of lanes, marks, first looks or locks; the tests compare what it says with the database.
Windows are computed for zones of a fixed offset only: the other tests are about midnights.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.sql.model_parts import Config, Record

DAY = timedelta(days=1)
OPEN = ("PENDING", "IN_PROGRESS", "FAILED")
CHANGED_BY = {
    "waive": ("PENDING", "FAILED"),
    "reopen": ("COMPLETED", "FAILED", "WAIVED"),
    "expire": ("IN_PROGRESS",),
    "cancel": ("IN_PROGRESS",),
}


@dataclass
class Pipeline:
    """One pipeline: its config, its records oldest first, and which run is bound to which record."""

    config: Config
    start: datetime
    version: int = 1
    # The version at which the fields or check_fields last changed.
    fields_version: int = 1
    paused: bool = False
    retired: bool = False
    lost_count: int = 0
    records: list[Record] = field(default_factory=list)
    archived: list[Record] = field(default_factory=list)
    bound: dict[str, Record] = field(default_factory=dict)
    # What historical records are owed, in passes: after the last pass, and after the next one.
    credit: Decimal = Decimal(0)
    next_credit: Decimal = Decimal(0)

    # ------------------------------------------------------------ windows
    @property
    def next_start(self) -> datetime:
        return self.records[-1].end if self.records else self.start

    def window_end(self, start: datetime) -> datetime:
        local = start + self.config.offset
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
        return min(start + self.config.granularity, midnight - self.config.offset)

    def due(self, now: datetime) -> list[tuple[datetime, datetime]]:
        found: list[tuple[datetime, datetime]] = []
        if self.retired:
            return found
        start = self.next_start
        while start < now - self.config.x_time_back and len(found) < 10_000:
            found.append((start, self.window_end(start)))
            start = found[-1][1]
        return found

    # ------------------------------------------------------------ rules
    def stable(self, record: Record, now: datetime) -> bool:
        return record.end + self.config.x_time_back <= now

    def is_outdated(self, record: Record) -> bool:
        return record.built_with is None or record.built_with < self.fields_version

    def missing(self, record: Record) -> list[str]:
        # A pass builds what is outdated: as if it held the fields of the config in force.
        fields = self.config.fields if self.is_outdated(record) else record.fields
        return [f for f in self.config.check_fields if fields.get(f) in (None, "")]

    def active(self, now: datetime) -> int:
        return sum(r.status == "IN_PROGRESS" and r.lease_until > now for r in self.records)

    def lost(self, end: datetime, now: datetime, within: timedelta = timedelta(0)) -> bool:
        """Is the source data of a window gone, or will it be within that time?"""
        kept = self.config.source_retention
        return kept is not None and end + kept - within <= now

    def must_be_waived(self, record: Record, now: datetime) -> bool:
        is_held = record.status == "IN_PROGRESS" and record.lease_until > now
        return record.status in OPEN and not is_held and self.lost(record.end, now)

    def at_risk_count(self, now: datetime) -> int:
        ends = [r.end for r in self.records if r.status in OPEN] + [end for _, end in self.due(now)]
        return sum(self.lost(end, now, self.config.at_risk_within) for end in ends)

    def blocked(self, record: Record, now: datetime) -> bool:
        return self.config.depends_on_past and any(
            r.status in OPEN and not self.must_be_waived(r, now)
            for r in self.records
            if r.start < record.start
        )

    def backoff_ends(self, record: Record, failed_at: datetime) -> datetime:
        delay = self.config.retry_delay
        backoff = min(delay * 2 ** (record.attempt - 1), max(DAY, delay))
        return failed_at + min(backoff, self.longest_wait(record, failed_at))

    def longest_wait(self, record: Record, now: datetime) -> timedelta:
        if self.config.source_retention is None:
            return timedelta.max
        left = record.end + self.config.source_retention - now
        return timedelta(seconds=max(0, left // timedelta(seconds=2)))

    def verdict(self, record: Record, now: datetime, *, own_backoff: bool = True) -> str:
        full = self.config.max_active is not None and self.active(now) >= self.config.max_active
        holds = {
            "LEASE_EXPIRED": record.status == "IN_PROGRESS" and record.lease_until <= now,
            "LEASED": record.status == "IN_PROGRESS",
            "LOST": self.lost(record.end, now),
            "FAILED": record.status == "FAILED",
            "PAUSED": self.paused,
            "INCOMPLETE": bool(self.missing(record)),
            "UNSTABLE": not self.stable(record, now),
            "BACKOFF": (own_backoff or record.is_postponed)
            and record.retry_at is not None
            and record.retry_at > now,
            "BLOCKED": self.blocked(record, now),
            "AT_CAPACITY": full,
            "READY": True,
        }
        return next(name for name, it_does in holds.items() if it_does)

    def ready_at(self, record: Record, now: datetime) -> datetime | None:
        verdict = self.verdict(record, now)
        if (
            verdict == "LEASE_EXPIRED"
            and self.comes_back(record)
            and not self.lost(record.end, now)
            and not self.paused
            and not self.missing(record)
        ):
            return self.backoff_ends(record, record.lease_until)
        if verdict == "BACKOFF":
            return record.retry_at
        if verdict in ("UNSTABLE", "READY"):
            stable_at = record.end + self.config.x_time_back
            return max(stable_at, record.retry_at or stable_at)
        return None

    # ------------------------------------------------------------ changes
    def register(self, config: Config) -> None:
        if config != self.config:
            self.version += 1
            if (config.fields, config.check_fields) != (
                self.config.fields,
                self.config.check_fields,
            ):
                self.fields_version = self.version
            self.config = config

    def to_build(self, now: datetime, config: Config, run: str | None) -> list[datetime]:
        """What must be rendered, were `config` in force; first what the pass comes to next."""
        if not config.has_templates:
            return []
        trial = copy.deepcopy(self)
        trial.register(config)
        if run in trial.bound:
            # A claim of its own that is over is taken back before it can be built.
            return [r.start for r in trial.next_to_build(now, run)]
        due = [start for start, _ in trial.due(now)]
        # Claims that are over are foreseen, though they are not taken back yet.
        collected = copy.deepcopy(trial)
        collected.collect(now)
        if not (found := collected.next_to_build(now, run)):
            return due
        first = found[0].start
        ahead = trial.ahead(now, 10)
        return [first, *sorted(due + [s for s in ahead if s != first])]

    def ahead(self, now: datetime, limit: int) -> list[datetime]:
        """The outdated ones among the next records of each kind."""
        coming = [
            r
            for r in self.records
            if r.status == "PENDING"
            and (not self.missing(r) or self.is_outdated(r))
            and self.stable(r, now)
            and not self.lost(r.end, now)
            and (r.retry_at is None or r.retry_at <= now)
        ]
        return [
            r.start
            for kind in (False, True)
            for r in [r for r in coming if r.is_historical == kind][:limit]
            if self.is_outdated(r)
        ]

    def next_to_build(self, now: datetime, run: str | None) -> list[Record]:
        """The record that a pass comes to next, when it must be rendered first."""
        verdict, record = self.answer(run, now)
        must = verdict == "READY" and record.status == "PENDING" and self.is_outdated(record)
        return [record] if must else []

    def build(self, record: Record, fields: dict[str, Any]) -> None:
        record.fields, record.built_with = fields, self.version

    def pass_next(
        self, run: str | None, now: datetime, sent: dict[datetime, dict[str, Any]]
    ) -> tuple[str, Record | None]:
        """What a pass answers after it has built what it came to; None as the verdict asks for more."""
        while True:
            verdict, record = self.answer(run, now)
            if verdict != "READY" or record.status != "PENDING" or not self.is_outdated(record):
                return verdict, record
            if self.config.has_templates and record.start not in sent:
                return "TO BUILD", record
            self.build(record, sent.get(record.start, self.config.fields))

    def store(self, now: datetime, sent: dict[datetime, dict[str, Any]] | None = None) -> int:
        stored = 0
        for start, end in self.due(now):
            record = Record(start, end)
            if sent is not None and start not in sent:
                break
            if sent is not None or not self.config.has_templates:
                record.fields = self.config.fields if sent is None else sent[start]
                record.built_with = self.version
            self.records.append(record)
            stored += 1
        return stored

    def collect(self, now: datetime) -> None:
        for record in self.records:
            if record.status == "IN_PROGRESS" and record.lease_until <= now:
                if self.comes_back(record):
                    self._back(record, self.backoff_ends(record, record.lease_until))
                else:
                    self._give_up(record)
            if self.must_be_waived(record, now):
                record.status, record.retry_at, record.is_postponed = "WAIVED", None, False
                self.lost_count += 1

    def answer(self, run: str | None, now: datetime) -> tuple[str, Record | None]:
        """The verdict and the record it is about; the record that is passed when READY."""
        bound = self.bound.get(run) if run is not None else None
        self.next_credit = self.credit
        if bound is not None:
            if bound.status in ("COMPLETED", "WAIVED"):
                return "ALREADY_DONE", None
            is_held = bound.status == "IN_PROGRESS" and bound.lease_until > now
            if is_held and bound.run == run and not bound.is_cancelled:
                return "READY", bound
            return self.verdict(bound, now, own_backoff=False), bound
        if ready := self._next_ready(now):
            return "READY", ready
        for status in ("PENDING", "IN_PROGRESS", "FAILED"):
            for record in self.records:
                if record.status == status:
                    return self.verdict(record, now), record
        return "NO_RECORDS", None

    def _next_ready(self, now: datetime) -> Record | None:
        """The oldest ready record; by turns with the oldest of the other kind where there is a share."""
        pending = [r for r in self.records if r.status == "PENDING"]
        ready = [r for r in pending if self.verdict(r, now) == "READY"]
        if not self.config.backfill_share or len({r.is_historical for r in ready}) < 2:
            return ready[0] if ready else None
        owed = self.credit + self.config.backfill_share
        self.next_credit = owed % 1
        return next(r for r in ready if r.is_historical == (owed >= 1))

    def pass_to(self, record: Record, run: str | None, token: int, now: datetime) -> None:
        self.credit = self.next_credit
        record.attempt += record.status == "PENDING"
        record.status, record.run, record.token = "IN_PROGRESS", run, token
        record.lease_until, record.retry_at = now + self.config.lease, None
        record.is_postponed = False
        if run is not None:
            self.bound.setdefault(run, record)

    def end(
        self, record: Record, how: str, now: datetime, not_before: datetime | None = None
    ) -> None:
        if how == "release":
            record.attempt -= 1
        if how == "complete":
            record.status, record.lease_until = "COMPLETED", None
            record.is_cancelled = False
        elif how == "release" and not record.is_cancelled:
            until = now
            if not_before is not None:
                until = now + min(not_before - now, self.longest_wait(record, now))
            self._back(record, until if until > now else None)
            record.is_postponed = until > now
        elif how == "fail" and self.comes_back(record):
            self._back(record, self.backoff_ends(record, now))
        else:
            self._give_up(record)

    def comes_back(self, record: Record) -> bool:
        return record.attempt < self.config.max_attempts and not record.is_cancelled

    @staticmethod
    def _give_up(record: Record) -> None:
        record.status, record.lease_until, record.is_cancelled = "FAILED", None, False

    @staticmethod
    def _back(record: Record, retry_at: datetime | None) -> None:
        record.status, record.retry_at = "PENDING", retry_at
        record.run = record.token = record.lease_until = None
        record.is_postponed = False

    # ------------------------------------------------------------ what operators do
    def is_changed(
        self, record: Record, operation: str, from_time: datetime, to_time: datetime, now: datetime
    ) -> bool:
        is_whole = from_time <= record.start and record.end <= to_time
        is_in_vain = operation == "reopen" and self.lost(record.end, now)
        if operation == "cancel" and record.is_cancelled:
            return False
        return is_whole and record.status in CHANGED_BY[operation] and not is_in_vain

    def operate(self, operation: str, from_time: datetime, to_time: datetime, now: datetime) -> int:
        found = [r for r in self.records if self.is_changed(r, operation, from_time, to_time, now)]
        for record in found:
            if operation == "waive":
                record.status, record.retry_at, record.is_postponed = "WAIVED", None, False
            elif operation == "cancel":
                record.is_cancelled = True
            elif operation == "reopen":
                record.generation, record.attempt = record.generation + 1, 0
                record.is_historical = True
                self._back(record, None)
            elif self.comes_back(record):
                self._back(record, self.backoff_ends(record, now))
            else:
                self._give_up(record)
        return len(found)

    def effects(
        self, operation: str, from_time: datetime, to_time: datetime, now: datetime
    ) -> Counter[tuple[str, str]]:
        """How many records of which status would be changed or left alone."""
        return Counter(
            (
                "changed"
                if self.is_changed(r, operation, from_time, to_time, now)
                else "left alone",
                r.status,
            )
            for r in self.records
            if from_time < r.end and r.start < to_time
        ) + Counter(
            ("left alone", r.status)
            for r in self.archived
            if from_time < r.end and r.start < to_time
        )

    def windows_before(self, from_time: datetime) -> list[tuple[datetime, datetime]]:
        """The windows from the local midnight before from_time to the first stored one."""
        first = self.records[0].start
        local = from_time + self.config.offset
        start = local.replace(hour=0, minute=0, second=0, microsecond=0) - self.config.offset
        found = []
        while from_time < first and start < first:
            found.append((start, min(self.window_end(start), first)))
            start = found[-1][1]
        return found

    def backfill(self, from_time: datetime) -> int:
        windows = self.windows_before(from_time)
        added = [Record(start, end, is_historical=True) for start, end in windows]
        for record in added:
            if not self.config.has_templates:
                record.fields, record.built_with = self.config.fields, self.version
        self.records[:0] = added
        return len(added)
