"""When the leases of claims run out, as far as this process can know: how long it keeps trying."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .clocks import elapsed
from .values import claim_of, parsed_time

Claim = tuple[str, int]

# Of a lease whose length is not known, this much is believed of what a clock says is left of it.
_LONGEST_BELIEVED = 86400.0
# Claims that nobody ends are forgotten once their leases are over and there are many.
_MANY = 1000


@dataclass(frozen=True)
class _Lease:
    until: float
    sent: float | None
    length: float | None


class Leases:
    """The leases of the claims that this process has to do with, by `clocks.elapsed`.

    A lease is counted from when the pass, or the last extension that came through, was sent: the
    server may have stamped it as early as that. What is known decides only how long a call is
    repeated that cannot reach the ledger; the ledger alone says whether a claim is lost.
    """

    def __init__(self) -> None:
        self._leases: dict[Claim, _Lease] = {}

    def passed(self, record: Mapping[str, Any], sent: float) -> None:
        """Notes a record whose pass was sent then by this process."""
        length = length_of(record)
        if length is not None:
            self._note(claim_of(record), _Lease(sent + length, sent, length))

    def extended(self, claim: Claim, sent: float, expires: dt.datetime) -> None:
        """Notes that an extension sent then came through; the server says when that ends."""
        known = self._leases.get(claim)
        length = known.length if known is not None else None
        left = _left(expires, _LONGEST_BELIEVED) if length is None else length
        self._note(claim, _Lease(sent + left, sent, length))

    def given(self, claim: Claim, record: Mapping[str, Any]) -> None:
        """Notes the claim on a record that another process was passed, by the times that it states.

        Its lease counts as over when `lease_expires_at` is, and after one length of it at the
        latest: the clocks of two machines may differ.
        """
        expires = _time(record.get("lease_expires_at"))
        if expires is not None and claim not in self._leases:
            length = length_of(record)
            left = _left(expires, _LONGEST_BELIEVED if length is None else length)
            self._note(claim, _Lease(elapsed() + left, None, length))

    def learnt(self, claim: Claim, length: float, sent: float) -> float:
        """Notes how long a claim's lease is; returns when it runs out.

        `sent` is when the pass was sent at the latest, for a claim that is not known.
        """
        known = self._leases.get(claim)
        if known is not None and known.sent is not None:
            sent = known.sent
        self._note(claim, _Lease(sent + length, sent, length))
        return sent + length

    def until(self, claim: Claim) -> float:
        """Returns when the lease runs out; now, when nothing is known of it."""
        known = self._leases.get(claim)
        return elapsed() if known is None else known.until

    def ended(self, claim: Claim) -> None:
        """Forgets a claim that has ended."""
        self._leases.pop(claim, None)

    def _note(self, claim: Claim, lease: _Lease) -> None:
        if len(self._leases) > _MANY:
            now = elapsed()
            for other, known in list(self._leases.items()):
                if known.until < now:
                    self._leases.pop(other, None)
        self._leases[claim] = lease


def length_of(record: Mapping[str, Any]) -> float | None:
    """Returns the length of the lease that a record was passed with, in seconds; None when unknown.

    A pass stamps both times.
    """
    expires, stamped = _time(record.get("lease_expires_at")), _time(record.get("updated_at"))
    if expires is None or stamped is None:
        return None
    return max(0.0, (expires - stamped).total_seconds())


def _left(expires: dt.datetime, longest: float) -> float:
    left = (expires - dt.datetime.now(dt.timezone.utc)).total_seconds()
    return min(max(0.0, left), longest)


def _time(value: Any) -> dt.datetime | None:
    """Returns the instant that a value states, or None: a record may come from anywhere."""
    try:
        time = parsed_time(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return time if isinstance(time, dt.datetime) and time.tzinfo is not None else None
