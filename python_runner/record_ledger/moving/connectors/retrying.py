"""Tries again what failed for a moment: with growing pauses, or the one that a server asks for."""

from __future__ import annotations

import datetime as dt
import email.utils
import time
from typing import TYPE_CHECKING, TypeVar

from record_ledger import logs
from record_ledger.connection import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

# About five minutes in all: as long as a node of a cluster needs to start again.
POLICY = RetryPolicy(tries=12, within=600.0, first_wait=0.5, longest_wait=60.0)


def retrying(
    name: str,
    call: Callable[[], Result],
    pause_after: Callable[[Exception], float | None],
    policy: RetryPolicy = POLICY,
    sleep: Callable[[float], object] = time.sleep,
) -> Result:
    """Returns what `call` returns, tried as often and as long as the policy allows.

    `pause_after(error)` says how many seconds the server asked to be left alone; 0 when it did not
    say; None when another try cannot help: then, and at the end, the error goes on.
    """
    deadline = time.monotonic() + policy.within
    tried = 0
    while True:
        tried += 1
        try:
            return call()
        except Exception as error:
            asked = pause_after(error)
            if asked is None or (policy.tries is not None and tried >= policy.tries):
                raise
            wait = max(asked, policy.wait_before(tried + 1))
            if time.monotonic() + wait > deadline:
                raise
            logs.retrying(name, tried, wait, str(error))
        sleep(wait)


def retry_after(header: str | None) -> float:
    """Returns the seconds that a Retry-After header asks for; 0 when it asks for nothing."""
    if header is None:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    if until.tzinfo is None:
        until = until.replace(tzinfo=dt.timezone.utc)
    return max(0.0, (until - dt.datetime.now(dt.timezone.utc)).total_seconds())
