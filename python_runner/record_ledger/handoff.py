"""The functions that the handoff names, each of them a call to the ledger."""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import logs
from .config import config_to_send
from .errors import InvalidArgument
from .records import Record, fields_of, parsed_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .ledger import RecordLedger


def store_new_and_pass_valid_record(
    final_config: Mapping[str, Any],
    *,
    run_id: str | None = None,
    ledger: RecordLedger | None = None,
) -> dict[str, Any]:
    """Hands out at most one record, the oldest valid one; safe to repeat with the same run_id.

    Returns exactly `{'exit_dag': bool, 'record': dict | None}`: the record is None when there is
    nothing to do. Its times are pendulum DateTimes in the pipeline's zone, target_day a date. The
    windows that are due are stored on the way. Without a run_id a UUID is drawn.

    :raises InvalidConfig: naming all that is wrong with the config; nothing was stored.
    :raises LedgerUnavailable: when the database cannot be reached.
    """
    with _using(ledger) as used:
        result = used.store_new_and_pass_valid_record(final_config, run_id)
    return {"exit_dag": result.exit_dag, "record": result.record}


def build_complete_pipeline_record(
    final_config: Mapping[str, Any], *, ledger: RecordLedger | None = None
) -> Record | None:
    """Returns the next record that is due, its templates rendered, or None when none is due.

    Registers the pipeline but stores no window. The record holds the fields, pipeline_id,
    target_day, window_start_time, window_end_time, time_interval and the status PENDING.

    :raises InvalidConfig: naming all that is wrong with the config.
    """
    with _using(ledger) as used, logs.timed("build_complete_pipeline_record") as outcome:
        pipeline_id = used.register_pipeline(final_config)
        outcome["pipeline_id"] = pipeline_id
        windows = used.new_windows(pipeline_id, max_windows=1)
        if not windows:
            return None
        window = {"pipeline_id": pipeline_id, **windows[0]}
        outcome["window"] = window["window_start_time"]
        return {**_built_fields(final_config, window), **window, "status": "PENDING"}


def upload_record_to_database(
    record: Mapping[str, Any], *, ledger: RecordLedger | None = None
) -> bool:
    """Stores the record if it is the next window that is due; never stores another one.

    Returns True when it was stored, False when its window was stored already.

    :raises InvalidArgument: when it is neither, naming the window that is due.
    :raises UnknownPipeline: when its pipeline is not registered.
    """
    pipeline_id, start = _key(record)
    with (
        _using(ledger) as used,
        logs.timed("upload_record_to_database", pipeline_id=pipeline_id, window=start) as outcome,
    ):
        due = used.new_windows(pipeline_id, max_windows=1)
        if due and _is_window(record, due[0]):
            built = {"window_start_time": start, "fields": fields_of(record)}
            if used.store_new_records(pipeline_id, [built]) > 0:
                outcome["stored"] = True
                return True
            due = used.new_windows(pipeline_id, max_windows=1)
        outcome["stored"] = False
        if used.pipeline_records(pipeline_id, start):
            return False
        expected = (
            f"the next one that is due is {due[0]['window_start_time'].isoformat()} to "
            f"{due[0]['window_end_time'].isoformat()}"
            if due
            else "no window is due now"
        )
        raise InvalidArgument(
            f"record: window {start.isoformat()} of {pipeline_id} cannot be stored; {expected}",
            sqlstate="RL005",
            hint="Build it with build_complete_pipeline_record.",
        )


def download_oldest_pending_record(
    pipeline_id: str | None = None, *, ledger: RecordLedger | None = None
) -> Record | None:
    """Returns the oldest pending record, of one pipeline or of all; hands nothing out.

    None when nothing is pending. Another run may be passed the same record meanwhile: only
    `store_new_and_pass_valid_record` claims.
    """
    with _using(ledger) as used:
        return used.oldest_pending_record(pipeline_id)


get_oldest_pending_record = download_oldest_pending_record


def validate_record_timing(
    final_config: Mapping[str, Any],
    record: Mapping[str, Any],
    *,
    ledger: RecordLedger | None = None,
) -> dict[str, Any]:
    """Tells whether a stored record is valid now; hands nothing out.

    Returns exactly `{'exit_dag', 'record'}`. The config is registered first; an incomplete record
    that its templates can fill is rebuilt, and the answer holds the rebuilt one.

    :raises InvalidConfig: naming all that is wrong with the config.
    """
    pipeline_id, start = _key(record)
    with (
        _using(ledger) as used,
        logs.timed("validate_record_timing", pipeline_id=pipeline_id, window=start) as outcome,
    ):
        used.register_pipeline(final_config)
        verdicts = used.record_verdicts(pipeline_id, start)
        checked = dict(record)
        if verdicts and verdicts[0]["verdict"] == "INCOMPLETE":
            window = used.pipeline_records(pipeline_id, start)[0]
            fields = _built_fields(final_config, window)
            used.store_new_records(pipeline_id, [{"window_start_time": start, "fields": fields}])
            checked.update(fields)
            verdicts = used.record_verdicts(pipeline_id, start)
        verdict = verdicts[0]["verdict"] if verdicts else "NO_RECORDS"
        outcome["verdict"] = verdict
        outcome["reason"] = verdicts[0]["reason"] if verdicts else None
        if verdict == "READY":
            return {"exit_dag": False, "record": checked}
        return {"exit_dag": True, "record": None}


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
    with _using(ledger) as used:
        used.complete_record(pipeline_id, claim_token, detail)


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
    text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
    with _using(ledger) as used:
        used.fail_record(pipeline_id, claim_token, text, retry)


def release_record(record: Mapping[str, Any], *, ledger: RecordLedger | None = None) -> None:
    """Gives a passed record back untried; the attempt does not count.

    :raises ClaimLost: when the record was passed to another run meanwhile; nothing was changed.
    """
    pipeline_id, claim_token = _claim(record)
    with _using(ledger) as used:
        used.release_record(pipeline_id, claim_token)


def extend_lease(record: Mapping[str, Any], *, ledger: RecordLedger | None = None) -> dt.datetime:
    """Keeps a passed record claimed for another lease; returns when that will expire.

    :raises ClaimLost: when the record was passed to another run meanwhile.
    """
    pipeline_id, claim_token = _claim(record)
    with _using(ledger) as used:
        return used.extend_lease(pipeline_id, claim_token)


@contextmanager
def _using(ledger: RecordLedger | None) -> Iterator[RecordLedger]:
    """Yields the given ledger, or one that lives as long as the call."""
    if ledger is not None:
        yield ledger
        return
    # Here and not above: a DAG file imports these functions each time that Airflow parses it, and
    # the driver takes four times as long as all that a parse may cost.
    from .ledger import RecordLedger  # noqa: PLC0415

    with RecordLedger() as opened:
        yield opened


def _built_fields(final_config: Mapping[str, Any], window: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a window's record: default_record's, its templates rendered."""
    from .ledger import record_templates  # noqa: PLC0415 - see _using

    config = config_to_send(final_config)
    templates = record_templates(config)
    if templates is None:
        return fields_of(config["default_record"])
    return templates.render(window, config["timezone"])


def _key(record: Mapping[str, Any]) -> tuple[str, dt.datetime]:
    """Returns the pipeline and the window's start, which together name a record."""
    missing = [name for name in ("pipeline_id", "window_start_time") if not record.get(name)]
    if missing:
        raise _incomplete_record(missing, "a record of this ledger")
    return str(record["pipeline_id"]), _instant(record, "window_start_time")


def _instant(record: Mapping[str, Any], name: str) -> dt.datetime:
    value = record[name]
    try:
        time = parsed_time(value) if isinstance(value, str) else value
    except ValueError:
        time = None
    if isinstance(time, dt.datetime) and time.tzinfo is not None:
        return time
    raise InvalidArgument(
        f"record: {name} {value!r} names no instant",
        sqlstate="RL005",
        hint="Give a DateTime with a time zone, or ISO 8601 text with an offset.",
    )


def _claim(record: Mapping[str, Any]) -> tuple[str, int]:
    """Returns the pipeline and the claim token, which together name a claim."""
    missing = [name for name in ("pipeline_id", "claim_token") if record.get(name) is None]
    if missing:
        raise _incomplete_record(missing, "a record that was passed")
    return str(record["pipeline_id"]), record["claim_token"]


def _incomplete_record(missing: list[str], wanted: str) -> InvalidArgument:
    return InvalidArgument(
        f"record: {' and '.join(missing)} missing; it must be {wanted}", sqlstate="RL005"
    )


def _is_window(record: Mapping[str, Any], window: Mapping[str, Any]) -> bool:
    """Tells whether a record is of exactly this window; an end it does not state is no other."""
    names = [n for n in ("window_start_time", "window_end_time") if record.get(n) is not None]
    utc = dt.timezone.utc
    return all(
        _instant(record, name).astimezone(utc) == window[name].astimezone(utc) for name in names
    )
