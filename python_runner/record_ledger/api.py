"""The functions that the handoff names, and those that take a record that was passed.

Each is a call of a `RecordLedger`: of the given one, or of one that lives as long as the call.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import logs
from .config import config_to_send, plain_json, shown, text_of
from .errors import InvalidArgument
from .sending import built_window, record_templates
from .values import Record, Time, fields_of, instant_of, start_of

if TYPE_CHECKING:
    from .client import RecordLedger


def store_new_and_pass_valid_record(
    final_config: Mapping[str, Any],
    *,
    run_id: str | None = None,
    ledger: RecordLedger | None = None,
) -> dict[str, Any]:
    """Hands out at most one record, the oldest valid one; safe to repeat with the same run_id.

    Returns exactly `{'exit_dag': bool, 'record': dict | None}`: the record is None when there is
    nothing to do. Its times are pendulum DateTimes in the pipeline's zone, target_day a date; of a
    window that was cut with another zone they are at that zone's offset. The windows that are due
    are stored on the way. Without a run_id a UUID is drawn.

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
    target_day, window_start_time, window_end_time, time_interval, the status PENDING and the
    config_version that it was built with.

    :raises InvalidConfig: naming all that is wrong with the config.
    :raises InvalidArgument: when others register other configs of the pipeline again and again.
    """
    with _using(ledger) as used, logs.timed("build_complete_pipeline_record") as outcome:
        pipeline_id, config_version = _registered(used, final_config)
        outcome["pipeline_id"] = pipeline_id
        windows = used.new_windows(pipeline_id, max_windows=1)
        if not windows:
            return None
        window = {"pipeline_id": pipeline_id, **windows[0]}
        outcome["window"] = window["window_start_time"]
        return {
            **_built_fields(final_config, window),
            **window,
            "status": "PENDING",
            "config_version": config_version,
        }


def upload_record_to_database(
    record: Mapping[str, Any], *, ledger: RecordLedger | None = None
) -> bool:
    """Stores the record if it is the next window that is due; never stores another one.

    Returns True when it was stored, False when its window was stored already.

    :raises InvalidArgument: when it is neither, naming the window that is due, when it was built
        with another config than the one in force, and for a field that JSON cannot carry.
    :raises UnknownPipeline: when its pipeline is not registered.
    """
    pipeline_id, start = _key_of(record)
    with (
        _using(ledger) as used,
        logs.timed("upload_record_to_database", pipeline_id=pipeline_id, window=start) as outcome,
    ):
        due = used.new_windows(pipeline_id, max_windows=1)
        if due and _is_window(record, due[0]):
            fields = plain_json(fields_of(record), "record")
            built = built_window(due[0], _version_of(record), fields)
            if used.store_new_records(pipeline_id, [built]) > 0:
                outcome["stored"] = True
                return True
            due = used.new_windows(pipeline_id, max_windows=1)
        outcome["stored"] = False
        if used.pipeline_records(pipeline_id, start):
            return False
        if due and _is_window(record, due[0]):
            in_force = used.pipelines(pipeline_id)[0]["config_version"]
            raise InvalidArgument(
                f"record: window {start.isoformat()} of {pipeline_id} was built with config "
                f"version {record['config_version']}, and version {in_force} is in force; "
                "nothing was stored",
                sqlstate="RL005",
                hint="Build it again with build_complete_pipeline_record.",
            )
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

    Returns exactly `{'exit_dag', 'record'}`. The config is registered first; an outdated record
    that is pending is built with it, and the answer holds the fields that it then has.

    :raises InvalidArgument: when it is no record of the config's pipeline; nothing is rebuilt.
    :raises InvalidConfig: naming all that is wrong with the config.
    """
    pipeline_id, start = _key_of(record)
    with (
        _using(ledger) as used,
        logs.timed("validate_record_timing", pipeline_id=pipeline_id, window=start) as outcome,
    ):
        configured, config_version = _registered(used, final_config)
        if configured != pipeline_id:
            raise InvalidArgument(
                f"record: it is of {pipeline_id}, and the config of {configured}",
                sqlstate="RL005",
                hint="Give the config of the record's own pipeline.",
            )
        verdicts = used.record_verdicts(pipeline_id, start)
        checked = dict(record)
        if verdicts and verdicts[0]["status"] == "PENDING" and verdicts[0]["is_outdated"]:
            window = used.pipeline_records(pipeline_id, start)[0]
            fields = _built_fields(final_config, window)
            used.store_new_records(pipeline_id, [built_window(window, config_version, fields)])
            stored = used.pipeline_records(pipeline_id, start)[0]
            checked = {key: checked[key] for key in checked if key not in fields_of(checked)}
            checked.update(stored["fields"])
            verdicts = used.record_verdicts(pipeline_id, start)
        verdict = verdicts[0]["verdict"] if verdicts else "NO_RECORDS"
        outcome["verdict"] = verdict
        outcome["reason"] = verdicts[0]["reason"] if verdicts else None
        if verdict == "READY":
            return {"exit_dag": False, "record": checked}
        return {"exit_dag": True, "record": None}


# ---------------------------------------------------------------- of a record that was passed
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
    with _using(ledger) as used:
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
    with _using(ledger) as used:
        used.hold(record)
        used.release_record(pipeline_id, claim_token, not_before, start_of(record))


def extend_lease(record: Mapping[str, Any], *, ledger: RecordLedger | None = None) -> dt.datetime:
    """Keeps a passed record claimed for another lease; returns when that will expire.

    :raises ClaimLost: when the record was passed to another run meanwhile.
    """
    pipeline_id, claim_token = _claim(record)
    with _using(ledger) as used:
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
    _, start = _key_of(record)
    with _using(ledger) as used:
        return used.observe_record(pipeline_id, start, stage, row_count, detail, claim_token)


def adopt_observations(
    record: Mapping[str, Any], stage: str | None = None, *, ledger: RecordLedger | None = None
) -> int:
    """Takes over what earlier claims on the record counted, where it was not counted again.

    Of all stages, or the given one; returns of how many. See `RecordLedger.adopt_observations`.

    :raises ClaimLost: when the record was passed to another run meanwhile; nothing was adopted.
    """
    pipeline_id, claim_token = _claim(record)
    with _using(ledger) as used:
        return used.adopt_observations(pipeline_id, claim_token, stage, start_of(record))


# ---------------------------------------------------------------- what these functions share
@contextmanager
def _using(ledger: RecordLedger | None) -> Iterator[RecordLedger]:
    """Yields the given ledger, or one that lives as long as the call."""
    if ledger is not None:
        yield ledger
        return
    # Here and not above: a DAG file imports these functions each time that Airflow parses it, and
    # the driver takes four times as long as all that a parse may cost.
    from .client import RecordLedger  # noqa: PLC0415

    with RecordLedger() as opened:
        yield opened


def _key_of(record: Mapping[str, Any]) -> tuple[str, dt.datetime]:
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


def _registered(ledger: RecordLedger, final_config: Mapping[str, Any]) -> tuple[str, int]:
    """Registers a config; returns its pipeline and the version under which it is in force.

    :raises InvalidArgument: when another config is in force each time that it is looked at.
    """
    pipeline_id = ""
    for _ in range(10):
        pipeline_id = ledger.register_pipeline(final_config)  # says what is wrong with it
        config = config_to_send(final_config)
        wanted = dict(config["default_record"])
        wanted.pop("pipeline_id", None)
        found = ledger.pipelines(pipeline_id)[0]
        in_force = dict(found["default_record"])
        in_force.pop("pipeline_id", None)
        # Another one may have been registered since, and what this one gives would pass for its.
        if in_force == wanted and found["timezone"] == config["timezone"]:
            return pipeline_id, found["config_version"]
    raise InvalidArgument(
        f"config: pipeline {pipeline_id} is registered with other configs all the while",
        sqlstate="RL005",
        hint="Stop the deployment that registers the other config, or give it another pipeline_id.",
    )


def _built_fields(final_config: Mapping[str, Any], window: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a window's record: default_record's, its templates rendered."""
    config = config_to_send(final_config)
    templates = record_templates(config)
    if templates is None:
        return fields_of(config["default_record"])
    return templates.render(window, config["timezone"])


def _version_of(record: Mapping[str, Any]) -> int:
    """Returns the config_version that a record was built with.

    :raises InvalidArgument: when it names none: its fields may be of any config.
    """
    version = record.get("config_version")
    if isinstance(version, int) and not isinstance(version, bool):
        return version
    raise InvalidArgument(
        f"record: config_version {version!r} is not a version of a config; it says which config "
        "the record was built with",
        sqlstate="RL005",
        hint="Build it with build_complete_pipeline_record.",
    )


def _is_window(record: Mapping[str, Any], window: Mapping[str, Any]) -> bool:
    """Tells whether a record is of exactly this window; an end it does not state is no other."""
    names = [n for n in ("window_start_time", "window_end_time") if record.get(n) is not None]
    utc = dt.timezone.utc
    return all(
        instant_of(record, name).astimezone(utc) == window[name].astimezone(utc) for name in names
    )
