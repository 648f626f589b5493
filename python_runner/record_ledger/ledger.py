"""`RecordLedger`: one method per public SQL object, under the same names."""

from __future__ import annotations

import json
import marshal
import uuid
import weakref
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from . import logs, queries
from .clocks import elapsed
from .config import (
    KNOWN_KEYS,
    config_to_send,
    has_templates,
    plain_json,
    text_of,
    to_json,
)
from .details import detail_json
from .drain import Drain
from .errors import InvalidConfig
from .leases import Leases
from .operations import LedgerOperator
from .processing import Processing
from .reader import Row
from .redaction import redact
from .results import BatchResult, ClaimState, Completion, PassResult
from .values import Time, claim_token_of, listed, record_from_json

if TYPE_CHECKING:
    import datetime as dt

    from .connection import Connection, RetryPolicy
    from .templates import RecordTemplates
    from .values import Record


# How often a call is answered with what it renders. Other runs may be passed what it rendered, and
# another config may be registered meanwhile; a pipeline where that goes on for ever is left alone.
_MOST_BUILDS = 10

_ANSWERS = json.JSONDecoder()
# The answers of calls that exited, as they came: the same until something is due or has settled.
_exits: dict[bytes, dict[str, Any]] = {}
_MOST_EXITS = 64
_KNOWN_KEYS = frozenset(KNOWN_KEYS)
_NONE_IGNORED: frozenset[str] = frozenset()


class RecordLedger(LedgerOperator):
    """A ledger in one database: calls it, and owns no rule of it.

    `conninfo` is a libpq connection string; without one RECORD_LEDGER_DSN, else libpq's PG*
    variables decide. Opens one connection when first used, safe behind PgBouncer; threads share it
    one call at a time. A call is repeated within `retry` when the connection drops, and every call
    that is repeated is safe to repeat. Use it in a `with` block, or `close()` it. It inherits what
    operators do and what only reads.

    `prepare` says whether the statements of runs are prepared once they have been sent a few times:
    None (RECORD_LEDGER_PREPARE, by default auto) prepares where no pooler is in between.

    A forked child that inherits it opens a connection of its own. A copy, and what `pickle` carries
    to another process, is a ledger of the same database, with a connection of its own as well; a
    pickle holds the connection string, the password in it included.
    """

    def __init__(
        self,
        conninfo: str | None = None,
        *,
        retry: RetryPolicy | None = None,
        prepare: bool | None = None,
    ) -> None:
        super().__init__(conninfo, retry=retry, prepare=prepare)
        self._warned_of: set[frozenset[str]] = set()
        # Of the pipelines that were asked about with their config.
        self._timezones: dict[str, Any] = {}
        # Until when it is worth to try what ends a claim; shared with `another`.
        self.leases = Leases()
        self._drains: weakref.WeakSet[Drain] = weakref.WeakSet()

    # ---------------------------------------------------------------- the cycle
    def store_new_and_pass_valid_record(
        self, final_config: Mapping[str, Any], run_id: str | None = None
    ) -> PassResult:
        """Hands out at most one record, the oldest valid one; safe to repeat with the same run_id.

        Registers the config, stores the windows that are due, collects expired leases and passes,
        in one statement; a second one when templates have to be rendered. An outdated record is
        built with this config first. Without a run_id a UUID is drawn, which makes this call's own
        retries safe.

        :raises InvalidConfig: naming all that is wrong; nothing was registered or stored.
        :raises LedgerUnavailable: when the database cannot be reached.
        """
        run_id = str(uuid.uuid4()) if run_id is None else run_id
        with logs.timed("store_new_and_pass_valid_record", run_id=run_id) as outcome:
            sent = elapsed()
            answer, timezone = self._cycle(
                "store_new_and_pass_valid_record",
                queries.STORE_NEW_AND_PASS_VALID_RECORD,
                final_config,
                (run_id,),
                outcome,
            )
            return self._pass_result(outcome, answer, timezone, sent)

    def pass_valid_records(
        self, final_config: Mapping[str, Any], run_id: str | None = None, record_limit: int = 100
    ) -> BatchResult:
        """Hands out up to `record_limit` records, oldest first; safe to repeat with its run_id.

        Does all that `store_new_and_pass_valid_record` does, in one statement. The k-th record is
        bound to the run id `run_id/k` and has a claim of its own, to be completed or failed by
        itself. A batch is drawn once: asked again it is the same records, without those that are
        finished by now.

        :raises InvalidConfig: naming all that is wrong; nothing was registered or stored.
        :raises InvalidArgument: when `record_limit` is no number from 1 to 10,000.
        """
        run_id = str(uuid.uuid4()) if run_id is None else run_id
        with logs.timed("pass_valid_records", run_id=run_id) as outcome:
            sent = elapsed()
            answer, timezone = self._cycle(
                "pass_valid_records",
                queries.PASS_VALID_RECORDS,
                final_config,
                (run_id, record_limit),
                outcome,
            )
            records = [record_from_json(record, timezone) for record in answer["records"]]
            for record in records:
                self.leases.passed(record, sent)
            logs.passed(outcome, answer["verdict"], answer["reason"], None)
            outcome["records"] = len(records)
            return BatchResult(answer["exit_dag"], answer["verdict"], answer["reason"], records)

    def pass_valid_record(self, pipeline_id: str, run_id: str | None = None) -> PassResult:
        """Hands out at most one stored record; safe to repeat with the same run_id.

        Stores no windows and renders no templates: an outdated record of a config that has some is
        left to the next call with the config.

        :raises UnknownPipeline: when no such pipeline is registered.
        """
        run_id = str(uuid.uuid4()) if run_id is None else run_id
        with logs.timed("pass_valid_record", run_id=run_id, pipeline_id=pipeline_id) as outcome:
            sent = elapsed()
            answer, timezone = self._one_row(
                "pass_valid_record",
                queries.PASS_VALID_RECORD,
                {"pipeline_id": pipeline_id, "run_id": run_id},
                longest=self._session.longest_call,
            )
            return self._pass_result(outcome, answer, timezone, sent)

    def register_pipeline(self, final_config: Mapping[str, Any]) -> str:
        """Makes the pipeline known with this config and returns its id; unchanged, writes nothing.

        :raises InvalidConfig: naming all that is wrong; nothing was registered.
        """
        with logs.timed("register_pipeline") as outcome:
            config = config_to_send(final_config)
            outcome["pipeline_id"] = pipeline_id_of(config)
            record_templates(config)
            row = self._one_row("register_pipeline", queries.REGISTER_PIPELINE, (to_json(config),))
            return str(row[0])

    def store_new_records(self, pipeline_id: str, built: list[dict[str, Any]] | None = None) -> int:
        """Stores the windows that are due and returns how many; what is stored already stays.

        `built` holds objects with window_start_time, window_end_time, config_version and fields, in
        the pipeline's field names. Windows are then stored up to the first one missing from it, and
        outdated pending records are built. What was rendered for another window, or with another
        config than the one in force, is ignored.

        :raises InvalidArgument: when JSON cannot carry `built`, naming every such part.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        with logs.timed("store_new_records", pipeline_id=pipeline_id) as outcome:
            sent = plain_json(built or [], "built")
            row = self._one_row(
                "store_new_records", queries.STORE_NEW_RECORDS, (pipeline_id, to_json(sent))
            )
            outcome["stored_count"] = row[0]
            return int(row[0])

    # ---------------------------------------------------------------- the end of a claim
    def complete_record(
        self,
        pipeline_id: str,
        claim_token: int,
        detail: Mapping[str, Any] | None = None,
        window_start_time: Time | None = None,
    ) -> None:
        """Ends the claim as done; repeating it with its token changes nothing and succeeds.

        `detail` is kept with the event: counts, paths, whatever JSON holds. It decides nothing:
        what JSON cannot hold is kept as text, what is too long is cut, and a warning is logged.

        Here and in the other calls about a claim, give the start of its window where you know it: a
        claim that another copy of the ledger passed, before it was restored, is then never taken
        for this one's.

        :raises ClaimLost: when the token is no longer the record's, or is of another window;
            nothing was changed.
        """
        self._end_claim(
            "complete_record",
            queries.COMPLETE_RECORD,
            pipeline_id,
            claim_token,
            detail_json(detail),
            self._named(window_start_time, pipeline_id, "window_start_time"),
        )

    def complete_and_pass(
        self,
        pipeline_id: str,
        claim_token: int,
        run_id: str | None = None,
        detail: Mapping[str, Any] | None = None,
        window_start_time: Time | None = None,
    ) -> PassResult:
        """Completes a record and hands out the next one, in one commit; safe to repeat with run_id.

        Does what `complete_record` and then `pass_valid_record` do: it stores no windows and
        renders no templates, which the next call with the config does. `run_id` is a new one: a run
        keeps its record for good. Repeated, the completion is confirmed, and the run gets the
        record that it is bound to. Without a run_id a UUID is drawn, which makes this call's own
        retries safe. With `exit_dag` True the record is completed and none was passed.

        :raises ClaimLost: when the token is no longer the record's; nothing was done.
        :raises CountsDisagree: when the counts that the config requires do not; nothing was done.
        """
        run_id = str(uuid.uuid4()) if run_id is None else run_id
        with logs.timed("complete_and_pass", run_id=run_id, pipeline_id=pipeline_id) as outcome:
            claim = pipeline_id, claim_token_of(claim_token)
            outcome["completed_claim_token"] = claim[1]
            parameters = {
                "pipeline_id": pipeline_id,
                "claim_token": claim[1],
                "run_id": run_id,
                "detail": detail_json(detail),
                "window_start_time": self._named(
                    window_start_time, pipeline_id, "window_start_time"
                ),
            }
            until, longest = self.leases.until(claim), self._session.longest_call
            sent = elapsed()
            timezone = self._timezones.get(pipeline_id)
            if timezone is not None:
                answered = self._value(
                    "complete_and_pass",
                    queries.COMPLETE_AND_PASS,
                    tuple(parameters.values()),
                    until=until,
                    longest=longest,
                )
                answer = json.loads(answered or b"null")
            else:
                answer, timezone = self._one_row(
                    "complete_and_pass",
                    queries.COMPLETE_AND_PASS_ANYWHERE,
                    parameters,
                    until=until,
                    longest=longest,
                )
            self.leases.ended(claim)
            return self._pass_result(outcome, answer, timezone, sent)

    def complete_records(
        self,
        pipeline_id: str,
        claim_tokens: Iterable[int],
        details: Iterable[Mapping[str, Any] | None] | None = None,
        window_start_times: Iterable[Time | None] | None = None,
    ) -> list[Completion]:
        """Ends up to 10,000 claims as done, in one commit; returns an answer for each, in order.

        A claim that is lost, or whose counts do not agree, hinders no other: look at each
        `outcome`. Repeating the call changes nothing and answers the same. `details` and
        `window_start_times` have an entry for each token where they are given; both are as in
        `complete_record`.

        :raises InvalidArgument: when a token is none or comes twice, there are too many, or the
            lists are not of one length; nothing was changed.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        with logs.timed("complete_records", pipeline_id=pipeline_id) as outcome:
            tokens = [claim_token_of(token) for token in listed(claim_tokens, "claim_tokens")]
            claims = [(pipeline_id, token) for token in tokens]
            outcome["records"] = len(tokens)
            kept = None
            if details is not None:
                kept = [detail_json(detail) for detail in listed(details, "details")]
            starts = None
            if window_start_times is not None:
                starts = [
                    self._named(start, pipeline_id, "window_start_times")
                    for start in listed(window_start_times, "window_start_times")
                ]
            parameters = (pipeline_id, tokens, kept, starts)

            def work(connection: Connection) -> list[Completion]:
                answer = connection.ask(queries.COMPLETE_RECORDS, parameters)
                return [Completion(*row) for row in answer.fetchall()]

            completions = self._session.run(
                "complete_records",
                work,
                until=max(map(self.leases.until, claims), default=None),
                longest=self._session.longest_call,
            )
            for completion in completions:
                if completion.outcome != "refused":
                    self.leases.ended((pipeline_id, completion.claim_token))
            outcome["completed"] = sum(one.outcome == "completed" for one in completions)
            return completions

    def fail_record(
        self,
        pipeline_id: str,
        claim_token: int,
        error: str,
        retry: bool = True,
        window_start_time: Time | None = None,
    ) -> None:
        """Ends the claim as failed: pending again after a backoff while attempts are left.

        With `retry=False` no further attempt is made. Repeating it with its token changes nothing.
        A cancelled claim ends as failed for good.
        Passwords of connection strings in `error` are not kept.

        :raises ClaimLost: when the token is no longer the record's; nothing was changed.
        """
        text = redact(text_of(error).replace("\x00", "").encode("utf-8", "replace").decode("utf-8"))
        self._end_claim(
            "fail_record",
            queries.FAIL_RECORD,
            pipeline_id,
            claim_token,
            text,
            retry,
            self._named(window_start_time, pipeline_id, "window_start_time"),
        )

    def release_record(
        self,
        pipeline_id: str,
        claim_token: int,
        not_before: Time | None = None,
        window_start_time: Time | None = None,
    ) -> None:
        """Gives the record back untried: pending again, and the attempt does not count.

        With `not_before` it is passed to no run before then, this one included; a past time changes
        nothing. One after half of the time that its source data has left is brought forward to
        that. Repeating the call with its token changes nothing.

        :raises ClaimLost: when the token is no longer the record's; nothing was changed.
        """
        self._end_claim(
            "release_record",
            queries.RELEASE_RECORD,
            pipeline_id,
            claim_token,
            self._named(not_before, pipeline_id, "not_before"),
            self._named(window_start_time, pipeline_id, "window_start_time"),
        )

    def extend_lease(
        self, pipeline_id: str, claim_token: int, window_start_time: Time | None = None
    ) -> dt.datetime:
        """Keeps the claim for another lease and returns when that will expire.

        A cancelled claim is extended as well: `beat` tells whether it is one.

        :raises ClaimLost: when the token is no longer the record's.
        """
        return self.beat(pipeline_id, claim_token, window_start_time)[0]

    def beat(
        self, pipeline_id: str, claim_token: int, window_start_time: Time | None = None
    ) -> tuple[dt.datetime, ClaimState]:
        """Does what `extend_lease` and `claim_state` do, in one statement; returns both answers.

        For work that is longer than a lease: call it at every third of that and at least every 30
        seconds. When the claim is cancelled, stop the work, call it until that has stopped, then
        fail the record with retry=False.

        :raises ClaimLost: when the token is no longer the record's.
        """
        with logs.timed("extend_lease", pipeline_id=pipeline_id, claim_token=claim_token):
            claim = pipeline_id, claim_token_of(claim_token)
            parameters = {
                "pipeline_id": pipeline_id,
                "claim_token": claim[1],
                "window_start_time": self._named(
                    window_start_time, pipeline_id, "window_start_time"
                ),
            }
            sent = elapsed()
            row = self._rows(
                "extend_lease",
                queries.EXTEND_LEASE,
                parameters,
                until=self.leases.until(claim),
                longest=self._session.longest_call,
            )[0]
        expires: dt.datetime = row["lease_expires_at"]
        self.leases.extended(claim, sent, expires)
        return expires, ClaimState(row["state"], row["reason"], row["cancelled_by"])

    def claim_state(self, pipeline_id: str, claim_token: int) -> ClaimState:
        """Tells whether a claim is current, cancelled or lost; only reads.

        Ask at least every 30 seconds while work goes on: heartbeats extend a cancelled claim, too.
        A run that finds its claim cancelled stops its work and fails the record with retry=False.

        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = (pipeline_id, claim_token_of(claim_token))
        with logs.timed("claim_state", pipeline_id=pipeline_id, claim_token=claim_token) as outcome:
            state = ClaimState(*self._one_row("claim_state", queries.CLAIM_STATE, parameters))
            outcome["state"] = state.state
        return state

    # ---------------------------------------------------------------- the archive
    def archive_records(self, pipeline_id: str, before: Time, max_records: int = 100_000) -> int:
        """Moves the oldest finished records to the archive and returns how many it moved.

        Those whose window ends at or before `before`, oldest first, up to the first open one; the
        newest record stays, and so does every run's claim to its record. One short transaction:
        call it until it returns 0. `archivable_records` says beforehand what it would do.

        :raises UnknownPipeline: when no such pipeline is registered.
        :raises InvalidArgument: when max_records is less than 1.
        """
        with logs.timed("archive_records", pipeline_id=pipeline_id) as outcome:
            parameters = (pipeline_id, self._instant(before, pipeline_id), max_records)
            row = self._one_row("archive_records", queries.ARCHIVE_RECORDS, parameters)
            outcome["archived_count"] = row[0]
            return int(row[0])

    # ---------------------------------------------------------------- a block of work
    def processing(self, final_config: Mapping[str, Any], run_id: str | None = None) -> Processing:
        """Passes a record for the length of a `with` block, keeps its lease, completes or fails it.

        See `Processing`: `with ledger.processing(config) as record:`; record is None when there is
        nothing to do.
        """
        return Processing(self, final_config, run_id)

    def drain(
        self,
        final_config: Mapping[str, Any],
        run_id: str | None = None,
        *,
        limit: int | None = None,
    ) -> Drain:
        """Works through the records of a pipeline, oldest first, with one commit for each.

        `for work in ledger.drain(config):` and in it `with work as record:`; see `Drain`. It ends
        when nothing is valid, or after `limit` records.

        :raises InvalidArgument: when `limit` is not a number of records.
        """
        drain = Drain(self, final_config, run_id, limit=limit)
        self._drains.add(drain)
        return drain

    def close(self) -> None:
        """Ends its drains and closes the connection; a later call would open another.

        :raises ClaimLost: when the claim on a record was lost that a drain had yet to complete.
        """
        with ExitStack() as stack:
            stack.callback(super().close)
            for drain in list(self._drains):
                stack.callback(drain.close)

    def another(self, *, retry: RetryPolicy | None = None) -> RecordLedger:
        """Returns a ledger of the same database with a connection of its own, for a thread.

        It tries as often as this one unless `retry` says otherwise.
        """
        other = RecordLedger(self._conninfo, retry=retry or self._retry, prepare=self._prepare)
        other.leases = self.leases
        other._session.follow(self._session)
        return other

    def hold(self, record: Mapping[str, Any]) -> None:
        """Has what ends the claim on a record be tried until its `lease_expires_at`.

        For a record that another process was passed. Of those that this ledger passes or extends
        itself, it knows; either way 30 s at least (`RetryPolicy.within`).

        :raises InvalidArgument: when it holds no claim token.
        """
        claim = str(record["pipeline_id"]), claim_token_of(record["claim_token"])
        self.leases.given(claim, record)

    def hurry(self, within: float | None = None) -> None:
        """Ends the waiting for a lease's end, `within` seconds from now at the latest.

        By default after `RetryPolicy.within`; so long are later calls tried. For another thread,
        when a signal came.
        """
        self._session.hurry(within)

    # ---------------------------------------------------------------- how calls are made
    def _cycle(
        self,
        name: str,
        statement: str,
        final_config: Mapping[str, Any],
        parameters: Row,
        outcome: dict[str, object],
    ) -> tuple[dict[str, Any], str | None]:
        """Calls with the config, its parameters and what the call asks to have rendered.

        Returns the answer and the pipeline's time zone.
        """
        config = self._config_sent(final_config, outcome)
        templates, built = config.templates, "[]"
        for asked in range(_MOST_BUILDS + 1):
            answered = self._value(
                name,
                statement,
                (config.json, *parameters, built),
                longest=self._session.longest_call,
            )
            answer = _read(answered or b"null")
            if not answer["to_build"] or templates is None or asked == _MOST_BUILDS:
                break
            rendered = rendered_windows(templates, answer["to_build"])
            self._warn_of_twins(templates, rendered)
            built = to_json(
                [
                    built_window(window, window["config_version"], fields)
                    for window, fields in rendered
                ]
            )
        self._timezones[config.pipeline_id] = config.timezone
        return answer, config.timezone

    def _warn_of_twins(
        self, templates: RecordTemplates, rendered: list[tuple[Record, dict[str, Any]]]
    ) -> None:
        from .twins import warn_of_twins  # noqa: PLC0415 - only configs with templates need it

        windows, fields = zip(*rendered, strict=True)
        warn_of_twins(self, templates, windows, fields)

    def _config_sent(self, final_config: object, outcome: dict[str, object]) -> _SentConfig:
        """Returns what is sent of a config, and what the runner itself needs of it.

        Leaves out keys that the ledger does not read, once it has been asked about them: the server
        looks for misspelt keys among them and warns. That is worth milliseconds once, and not in
        every pass.

        :raises InvalidConfig: naming every key that JSON cannot carry, or every wrong template.
        """
        sent = _sent_before(final_config, self._warned_of)
        if sent is not None:
            outcome["pipeline_id"] = sent.pipeline_id
            return sent
        config = config_to_send(final_config)
        outcome["pipeline_id"] = pipeline_id_of(config)
        templates = record_templates(config)
        ignored = frozenset(config).difference(_KNOWN_KEYS)
        if ignored in self._warned_of:
            config = {key: value for key, value in config.items() if key not in ignored}
        self._warned_of.add(ignored)
        return _as_sent(config, templates)

    def _end_claim(
        self, name: str, statement: str, pipeline_id: str, claim_token: int, *more: object
    ) -> None:
        with logs.timed(name, pipeline_id=pipeline_id, claim_token=claim_token):
            claim = pipeline_id, claim_token_of(claim_token)
            self._value(
                name,
                statement,
                (*claim, *more),
                until=self.leases.until(claim),
                longest=self._session.longest_call,
            )
            self.leases.ended(claim)

    def _pass_result(
        self, outcome: dict[str, object], answer: dict[str, Any], timezone: str | None, sent: float
    ) -> PassResult:
        data = answer["record"]
        record = None if data is None else record_from_json(data, timezone)
        if record is not None:
            self.leases.passed(record, sent)
        logs.passed(outcome, answer["verdict"], answer["reason"], record)
        return PassResult(answer["exit_dag"], answer["verdict"], answer["reason"], record)


def _read(answered: bytes) -> dict[str, Any]:
    """Returns an answer, which must not be changed: that of a call that exits is kept."""
    kept = _exits.get(answered)
    if kept is not None:
        return kept
    answer: dict[str, Any] = _ANSWERS.raw_decode(answered.decode())[0]
    if answer["exit_dag"] and not answer["to_build"]:
        if len(_exits) >= _MOST_EXITS:
            _exits.clear()
        _exits[answered] = answer
    return answer


@dataclass(frozen=True)
class _SentConfig:
    """A config as JSON text, and what the runner itself needs of it."""

    json: str
    pipeline_id: Any
    timezone: Any
    templates: RecordTemplates | None


def _as_sent(config: dict[str, Any], templates: RecordTemplates | None) -> _SentConfig:
    return _SentConfig(to_json(config), pipeline_id_of(config), config.get("timezone"), templates)


def _sent_before(config: object, warned_of: set[frozenset[str]]) -> _SentConfig | None:
    """Returns what is sent for a config with keys that the ledger has been asked about.

    None when that has to be worked out. Configs whose marshalled bytes are equal are equal in every
    type and value, and in their order: True is not 1 there, as it is to `==`. What can be changed
    is not kept: only bytes are, and nothing of the keys that are not sent.
    """
    if type(config) is not dict:
        return None
    if not config.keys() <= _KNOWN_KEYS:
        ignored = config.keys() - _KNOWN_KEYS
        if ignored not in warned_of:
            return None
        config = {key: value for key, value in config.items() if key not in ignored}
    elif _NONE_IGNORED not in warned_of:
        return None
    try:
        # Version 0 notes nothing but types and values: equal configs have equal bytes.
        return _sent_of_bytes(marshal.dumps(config, 0))
    except (ValueError, InvalidConfig):
        return None  # it holds more than plain values, or is wrong: the whole way says what


@lru_cache(maxsize=64)
def _sent_of_bytes(marshalled: bytes) -> _SentConfig:
    config = config_to_send(marshal.loads(marshalled))  # noqa: S302 - of this process
    return _as_sent(config, record_templates(config))


def rendered_windows(
    templates: RecordTemplates, to_build: list[Record]
) -> list[tuple[Record, dict[str, Any]]]:
    """Returns each window that an answer asks to have rendered, with its fields.

    Templates see the local times of the zone that the window was cut with. Without the first window
    nothing can be passed. A later one that fails is left out, so that the windows before it are not
    held up, and is asked for again when it comes first.

    :raises InvalidConfig: when the first one fails, naming every field that did, and the window.
    """
    rendered: list[tuple[Record, dict[str, Any]]] = []
    for window in to_build:
        try:
            fields = templates.render(window, window["timezone"])
        except InvalidConfig as error:
            if not rendered:
                raise
            logs.left_out(window["pipeline_id"], window["window_start_time"], error.message)
            continue
        rendered.append((window, fields))
    return rendered


def built_window(
    window: Mapping[str, Any], config_version: int, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the entry of `built` that stands for one window, rendered with that config."""
    return {
        "window_start_time": window["window_start_time"],
        "window_end_time": window["window_end_time"],
        "config_version": config_version,
        "fields": fields,
    }


def pipeline_id_of(config: Mapping[str, Any]) -> Any:
    """Returns the pipeline's name in a config, wherever it stands; None when it has none."""
    default_record = config.get("default_record")
    if isinstance(default_record, Mapping) and "pipeline_id" in default_record:
        return default_record["pipeline_id"]
    return config.get("pipeline_id")


def record_templates(config: Mapping[str, Any]) -> RecordTemplates | None:
    """Returns the config's templates, checked, or None when it has none (and needs no jinja2)."""
    default_record = config.get("default_record")
    if not isinstance(default_record, dict) or not has_templates(default_record):
        return None
    from .templates import compiled  # noqa: PLC0415 - jinja2 is slow to import and seldom needed

    return compiled(default_record)
