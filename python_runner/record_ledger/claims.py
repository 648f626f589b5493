"""The functions that take a record that was passed: what its holder does with the claim."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .config import shown, text_of
from .errors import InvalidArgument
from .values import instant_of, start_of

if TYPE_CHECKING:
    from .ledger import RecordLedger
    from .values import Time


def complete_record(
    record: Mapping[str, Any],
    detail: Mapping[str, Any] | None = None,
    *,
    ledger: RecordLedger | None = None,
) -> None:
    """Marks a passed record as done; repeating it with the same record changes nothing.

    :raises ClaimLost: when the record was passed to another run meanwhile; nothing was changed.
    """
    pipeline_id, claim_token = _claim(record)
    with using(ledger) as used:
        used.hold(record)
        used.complete_record(pipeline_id, claim_token, detail, start_of(record))


def fail_record(
    record: Mapping[str, Any],
    error: str | BaseException,
    retry: bool = True,
    *,
    ledger: RecordLedger | None = None,
) -> None:
    """Marks a passed record as failed; it is pending again while it has attempts left.

    `error` is kept with the record's history. With `retry=False` no further attempt is made.

    :raises ClaimLost: when the record was passed to another run meanwhile; nothing was changed.
    """
    pipeline_id, claim_token = _claim(record)
    is_exception = isinstance(error, BaseException)
    text = f"{type(error).__name__}: {text_of(error)}" if is_exception else text_of(error)
    with using(ledger) as used:
        used.hold(record)
        used.fail_record(pipeline_id, claim_token, text, retry, start_of(record))


def release_record(
    record: Mapping[str, Any],
    not_before: Time | None = None,
    *,
    ledger: RecordLedger | None = None,
) -> None:
    """Gives a passed record back untried; the attempt does not count.

    With `not_before` it is passed to no run before then: see `RecordLedger.release_record`.

    :raises ClaimLost: when the record was passed to another run meanwhile; nothing was changed.
    """
    pipeline_id, claim_token = _claim(record)
    with using(ledger) as used:
        used.hold(record)
        used.release_record(pipeline_id, claim_token, not_before, start_of(record))


def extend_lease(record: Mapping[str, Any], *, ledger: RecordLedger | None = None) -> dt.datetime:
    """Keeps a passed record claimed for another lease; returns when that will expire.

    :raises ClaimLost: when the record was passed to another run meanwhile.
    """
    pipeline_id, claim_token = _claim(record)
    with using(ledger) as used:
        used.hold(record)
        return used.extend_lease(pipeline_id, claim_token, start_of(record))


def observe_record(
    record: Mapping[str, Any],
    stage: str,
    row_count: int,
    detail: Mapping[str, Any] | None = None,
    *,
    ledger: RecordLedger | None = None,
) -> int:
    """Notes how many rows were counted of a passed record at a stage: evidence for completing it.

    Stages are 'source', 'stage', 'target' or a name of your own. What was noted never changes: the
    newest count of a stage decides. Returns its number. `RecordLedger.observe_record` takes a count
    of a record that nobody holds, too.

    :raises ClaimLost: when the record was passed to another run meanwhile; nothing was noted.
    """
    pipeline_id, claim_token = _claim(record)
    _, start = key_of(record)
    with using(ledger) as used:
        return used.observe_record(pipeline_id, start, stage, row_count, detail, claim_token)


def adopt_observations(
    record: Mapping[str, Any], stage: str | None = None, *, ledger: RecordLedger | None = None
) -> int:
    """Takes over what earlier claims on the record counted, where it was not counted again.

    Of all stages, or the given one; returns of how many. See `RecordLedger.adopt_observations`.

    :raises ClaimLost: when the record was passed to another run meanwhile; nothing was adopted.
    """
    pipeline_id, claim_token = _claim(record)
    with using(ledger) as used:
        return used.adopt_observations(pipeline_id, claim_token, stage, start_of(record))


@contextmanager
def using(ledger: RecordLedger | None) -> Iterator[RecordLedger]:
    """Yields the given ledger, or one that lives as long as the call."""
    if ledger is not None:
        yield ledger
        return
    # Here and not above: a DAG file imports these functions each time that Airflow parses it, and
    # the driver takes four times as long as all that a parse may cost.
    from .ledger import RecordLedger  # noqa: PLC0415

    with RecordLedger() as opened:
        yield opened


def key_of(record: Mapping[str, Any]) -> tuple[str, dt.datetime]:
    """Returns the pipeline and the window's start, which together name a record."""
    _demand(record, ("pipeline_id", "window_start_time"), "a record of this ledger")
    return str(record["pipeline_id"]), instant_of(record, "window_start_time")


def _claim(record: Mapping[str, Any]) -> tuple[str, int]:
    """Returns the pipeline and the claim token, which together name a claim."""
    _demand(record, ("pipeline_id", "claim_token"), "a record that was passed")
    return str(record["pipeline_id"]), record["claim_token"]


def _demand(record: Mapping[str, Any], names: tuple[str, str], wanted: str) -> None:
    """Raises InvalidArgument unless it is a record that has what these names stand for."""
    if not isinstance(record, Mapping):
        raise InvalidArgument(
            f"record: {shown(record)} is no record; it must be {wanted}",
            sqlstate="RL005",
            hint="With exit_dag True there is no record: look at that first.",
        )
    missing = [name for name in names if record.get(name) in (None, "")]
    if missing:
        raise InvalidArgument(
            f"record: {' and '.join(missing)} missing; it must be {wanted}", sqlstate="RL005"
        )
