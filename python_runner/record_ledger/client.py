"""`RecordLedger`: one method per public SQL object, under the same names and in their order."""

from __future__ import annotations

import json
import uuid
import weakref
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from . import logs, queries
from .calls import Calls, read_answer
from .clocks import elapsed
from .config import KNOWN_KEYS, config_to_send, pipeline_id_of, plain_json, text_of, to_json
from .connection import Session
from .details import detail_json
from .drain import Drain
from .leases import Leases
from .processing import Processing
from .redaction import redact
from .results import BatchResult, ClaimState, Completion, PassResult, RangeStep
from .sending import (
    SentConfig,
    as_sent,
    built_window,
    record_templates,
    rendered_windows,
    sent_before,
)
from .twins import warn_of_twins
from .values import (
    Time,
    claim_token_of,
    day_text,
    listed,
    record_from_json,
    row_count_of,
    time_text,
)

if TYPE_CHECKING:
    import datetime as dt
    from decimal import Decimal
    from types import TracebackType

    import psycopg
    from typing_extensions import Self

    from .calls import Row
    from .connection import Connection, RetryPolicy
    from .values import Record

# How often a call is answered with what it renders. Other runs may be passed what it rendered, and
# another config may be registered meanwhile; a pipeline where that goes on for ever is left alone.
_MOST_BUILDS = 10
_KNOWN_KEYS = frozenset(KNOWN_KEYS)
# The steps that may be done twice: a second reopening, expiry or cancellation would undo what runs
# did in between.
_REPEATED = ("waive", "backfill")


class RecordLedger:
    """A ledger in one database: calls it, and owns no rule of it.

    `conninfo` is a libpq connection string; without one RECORD_LEDGER_DSN, else libpq's PG*
    variables decide. Opens one connection when first used, safe behind PgBouncer; threads share it
    one call at a time. A call is repeated within `retry` when the connection drops, and every call
    that is repeated is safe to repeat. Use it in a `with` block, or `close()` it.

    `prepare` says whether the statements of runs are prepared once they have been sent a few times:
    None (RECORD_LEDGER_PREPARE, by default auto) prepares where no pooler is in between.

    A forked child that inherits it opens a connection of its own. A copy, and what `pickle` carries
    to another process, is a ledger of the same database, with a connection of its own as well; a
    pickle holds the connection string, the password in it included.

    Methods that only read serve a member of record_ledger_reader. Their rows are dicts by the
    views' column names; times are pendulum DateTimes in the pipeline's zone, at the wall clock that
    the server computes. Those of a window that was cut with another zone are at that zone's offset.
    Durations are timedeltas.

    A time without an offset is the pipeline's local time, and a window without one is named by the
    clock that it was cut with. What could be two instants, or two windows, is InvalidArgument.

    What operators do is one transaction per call, and no run of the pipeline is served while it
    lasts: for very many records the command `record-ledger` works in steps. All of it is kept in
    the history, with its reason, who did it and when. Repeated after a lost connection a call
    counts only what it changed itself. To reopen, to expire and to cancel are not repeated: a run
    may have been passed, or have completed, what they had changed.
    """

    def __init__(
        self,
        conninfo: str | None = None,
        *,
        retry: RetryPolicy | None = None,
        prepare: bool | None = None,
    ) -> None:
        self._conninfo = conninfo
        self._retry = retry
        self._prepare = prepare
        self._session = Session(conninfo, retry, prepare=prepare)
        self._calls = Calls(self._session)
        self._warned_of: set[frozenset[str]] = set()
        # Of the pipelines that were asked about with their config.
        self._timezones: dict[str, Any] = {}
        # Until when it is worth to try what ends a claim; shared with `another`.
        self.leases = Leases()
        self._drains: weakref.WeakSet[Drain] = weakref.WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends its drains and closes the connection; a later call would open another.

        :raises ClaimLost: when the claim on a record was lost that a drain had yet to complete.
        """
        with ExitStack() as stack:
            stack.callback(self._session.close)
            for drain in list(self._drains):
                stack.callback(drain.close)

    def __reduce__(self) -> tuple[Any, ...]:
        # The connection stays here. The connection string goes along, with a password in it: a
        # worker of multiprocessing has to connect as this one does.
        return _opened, (type(self), self._conninfo, self._retry, self._prepare)

    @property
    def conninfo(self) -> str | None:
        """The connection string it was opened with; None leaves it to the environment."""
        return self._conninfo

    def another(self, *, retry: RetryPolicy | None = None) -> RecordLedger:
        """Returns a ledger of the same database with a connection of its own, for a thread.

        It tries as often as this one unless `retry` says otherwise.
        """
        other = RecordLedger(self._conninfo, retry=retry or self._retry, prepare=self._prepare)
        other.leases = self.leases
        other._session.follow(self._session)
        return other

    def interrupt(self) -> None:
        """Ends a call that another thread is in, and refuses every later one.

        What waits in the database is cancelled: it was done, and its answer comes, or it fails and
        has changed nothing.
        """
        self._session.interrupt()

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
            answer, timezone = self._calls.one_row(
                "pass_valid_record",
                queries.PASS_VALID_RECORD,
                {"pipeline_id": pipeline_id, "run_id": run_id},
                longest=self._session.longest_call,
            )
            return self._pass_result(outcome, answer, timezone, sent)

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
            row = self._calls.one_row(
                "store_new_records", queries.STORE_NEW_RECORDS, (pipeline_id, to_json(sent))
            )
            outcome["stored_count"] = row[0]
            return int(row[0])

    def register_pipeline(self, final_config: Mapping[str, Any]) -> str:
        """Makes the pipeline known with this config and returns its id; unchanged, writes nothing.

        :raises InvalidConfig: naming all that is wrong; nothing was registered.
        """
        with logs.timed("register_pipeline") as outcome:
            config = config_to_send(final_config)
            outcome["pipeline_id"] = pipeline_id_of(config)
            record_templates(config)
            row = self._calls.one_row(
                "register_pipeline", queries.REGISTER_PIPELINE, (to_json(config),)
            )
            return str(row[0])

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
            self._calls.named(window_start_time, pipeline_id, "window_start_time"),
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
                "window_start_time": self._calls.named(
                    window_start_time, pipeline_id, "window_start_time"
                ),
            }
            until, longest = self.leases.until(claim), self._session.longest_call
            sent = elapsed()
            timezone = self._timezones.get(pipeline_id)
            if timezone is not None:
                answered = self._calls.value(
                    "complete_and_pass",
                    queries.COMPLETE_AND_PASS,
                    tuple(parameters.values()),
                    until=until,
                    longest=longest,
                )
                answer = json.loads(answered or b"null")
            else:
                answer, timezone = self._calls.one_row(
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
                    self._calls.named(start, pipeline_id, "window_start_times")
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
            self._calls.named(window_start_time, pipeline_id, "window_start_time"),
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
            self._calls.named(not_before, pipeline_id, "not_before"),
            self._calls.named(window_start_time, pipeline_id, "window_start_time"),
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
                "window_start_time": self._calls.named(
                    window_start_time, pipeline_id, "window_start_time"
                ),
            }
            sent = elapsed()
            row = self._calls.rows(
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
            state = ClaimState(*self._calls.one_row("claim_state", queries.CLAIM_STATE, parameters))
            outcome["state"] = state.state
        return state

    # ---------------------------------------------------------------- blocks of work
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

    # ---------------------------------------------------------------- what is counted of a record
    # A window is named by its start: a date, datetime or ISO 8601 text; without an offset by the
    # clock that it was cut with.
    def observe_record(  # noqa: PLR0917 - the parameters of the SQL routine, in its order
        self,
        pipeline_id: str,
        window_start_time: Time,
        stage: str,
        row_count: int,
        detail: Mapping[str, Any] | None = None,
        claim_token: int | None = None,
    ) -> int:
        """Notes how many rows were counted of a record at a stage; what was noted never changes.

        Stages are 'source', 'stage', 'target' or a name of your own; `detail` holds bytes, digests,
        as that of `complete_record` does. With the claim's token it is evidence for completing the
        record; without one it may be noted at any time, also after completion, and is none. Returns
        its number. Repeated after a lost connection it may be noted twice, which decides nothing
        anew.

        :raises ClaimLost: when the token is no longer the record's; nothing was noted.
        :raises InvalidArgument: for what is no whole number from 0 on, or a window that is not
            stored or archived.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {
            "pipeline_id": pipeline_id,
            "window_start_time": time_text(window_start_time),
            "stage": stage,
            "row_count": row_count_of(row_count),
            "detail": detail_json(detail),
            "claim_token": None if claim_token is None else claim_token_of(claim_token),
        }
        return int(self._call("observe_record", queries.OBSERVE_RECORD, parameters))

    def adopt_observations(
        self,
        pipeline_id: str,
        claim_token: int,
        stage: str | None = None,
        window_start_time: Time | None = None,
    ) -> int:
        """Takes over what earlier claims of this generation counted; returns how many stages.

        Of all stages, or the given one, that this claim has not counted itself. Adopt the count of
        a source that is not read again, not that of a target that is loaded again. With the start
        of the claim's window, a token of another ledger's claim is refused.

        :raises ClaimLost: when the token is no longer the record's; nothing was adopted.
        """
        parameters = {
            "pipeline_id": pipeline_id,
            "claim_token": claim_token_of(claim_token),
            "stage": stage,
            "window_start_time": self._calls.named(
                window_start_time, pipeline_id, "window_start_time"
            ),
        }
        return int(self._call("adopt_observations", queries.ADOPT_OBSERVATIONS, parameters))

    def waive_counts(self, pipeline_id: str, window_start_time: Time, reason: str) -> bool:
        """Lets a record be completed whatever its counts are; returns whether that is new.

        In its present generation, while it is pending or in progress. Kept in its history.

        :raises IllegalStateChange: when the record is done or has failed for good.
        :raises InvalidArgument: without a reason, a stored window or a config that asks for counts.
        """
        parameters = {
            "pipeline_id": pipeline_id,
            "window_start_time": time_text(window_start_time),
            "reason": reason,
        }
        return bool(self._call("waive_counts", queries.WAIVE_COUNTS, parameters))

    def record_observations(
        self, pipeline_id: str, window_start_time: Time | None = None
    ) -> list[Record]:
        """Returns what was counted of a pipeline's records, or of the one of a window, in order."""
        start = self._calls.window(window_start_time, pipeline_id)
        parameters = {"instant": start, "pipeline_id": pipeline_id}
        return self._calls.rows("record_observations", queries.RECORD_OBSERVATIONS, parameters)

    def archived_record_observations(
        self, pipeline_id: str, window_start_time: Time | None = None
    ) -> list[Record]:
        """Returns what was counted of archived records, or of the one of a window, in order."""
        start = self._calls.window(window_start_time, pipeline_id)
        parameters = {"instant": start, "pipeline_id": pipeline_id}
        return self._calls.rows(
            "archived_record_observations", queries.ARCHIVED_RECORD_OBSERVATIONS, parameters
        )

    # ---------------------------------------------------------------- operators: records of a range
    # Whole windows in [from_time, to_time). Times are datetimes, dates or ISO 8601 text; without an
    # offset they are the pipeline's local time.
    def waive_records(self, pipeline_id: str, from_time: Time, to_time: Time, reason: str) -> int:
        """Marks the pending and failed records of a range WAIVED; returns how many changed.

        :raises InvalidArgument: when the range holds no time, or no reason is given.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {**_range(pipeline_id, from_time, to_time), "reason": reason}
        return self._counted("waive_records", queries.WAIVE_RECORDS, parameters)

    def reopen_records(self, pipeline_id: str, from_time: Time, to_time: Time, reason: str) -> int:
        """Makes the finished and failed records of a range pending anew; returns how many changed.

        Their attempts start again, in a new generation. What was done before stays in the history.

        :raises InvalidArgument: when the range holds no time, or no reason is given.
        :raises LedgerUnavailable: also when the connection was lost before the answer came.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {**_range(pipeline_id, from_time, to_time), "reason": reason}
        return self._counted(
            "reopen_records", queries.REOPEN_RECORDS, parameters, may_run_twice=False
        )

    def expire_leases(self, pipeline_id: str, from_time: Time, to_time: Time, reason: str) -> int:
        """Takes records of a range back from runs known to be dead; returns how many changed.

        As if their leases had run out now: pending after a backoff, or failed without attempts
        left. A run that is alive after all gets ClaimLost when it ends or extends its claim, and
        may write until then: `cancel_records` is for those.

        :raises InvalidArgument: when the range holds no time, or no reason is given.
        :raises LedgerUnavailable: also when the connection was lost before the answer came.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {**_range(pipeline_id, from_time, to_time), "reason": reason}
        return self._counted(
            "expire_leases", queries.EXPIRE_LEASES, parameters, may_run_twice=False
        )

    def cancel_records(self, pipeline_id: str, from_time: Time, to_time: Time, reason: str) -> int:
        """Asks the runs that hold records of a range to stop; returns how many it asks.

        A run that sends heartbeats learns of it within 30 s, any from `claim_state`. It keeps its
        claim until it has stopped: no second run begins beside one that still writes. However the
        claim ends then, the record has failed for good, unless the run completes it. For runs that
        are dead there is `expire_leases`.

        :raises InvalidArgument: when the range holds no time, or no reason is given.
        :raises LedgerUnavailable: also when the connection was lost before the answer came.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {**_range(pipeline_id, from_time, to_time), "reason": reason}
        return self._counted(
            "cancel_records", queries.CANCEL_RECORDS, parameters, may_run_twice=False
        )

    def backfill_records(self, pipeline_id: str, from_time: Time, reason: str | None = None) -> int:
        """Adds records before the pipeline's first one, back to the day of from_time.

        Returns how many: 0 when the first record starts there already.

        :raises InvalidArgument: for a time before 1970, or a pipeline without records or retired.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {
            "pipeline_id": pipeline_id,
            "from_time": time_text(from_time),
            "reason": reason,
        }
        return self._counted("backfill_records", queries.BACKFILL_RECORDS, parameters)

    def range_effects(
        self, operation: str, pipeline_id: str, from_time: Time, to_time: Time | None = None
    ) -> list[Record]:
        """Returns what an operation would change in a range, and leave alone and why; only reads.

        `operation` is 'waive', 'reopen', 'expire', 'cancel' or 'backfill' (whose to_time may be
        None). Rows have effect ('changed' or 'left alone'), status, reason, record_count,
        first_window_start_time and last_window_end_time.

        :raises InvalidArgument: where the operation itself would.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {
            "operation": operation,
            **_range(pipeline_id, from_time, to_time),
        }
        rows = self._calls.rows("range_effects", queries.RANGE_EFFECTS, parameters)
        return [{key: row[key] for key in row if key != "ordinality"} for row in rows]

    def _range_step(
        self,
        operation: str,
        pipeline_id: str,
        from_time: Time,
        to_time: Time | None,
        reason: str | None,
        *,
        max_records: int,
    ) -> RangeStep:
        """Does the first step of an operation on a range, a short one, in a transaction of its own.

        `operation` is one of `range_effects`. Changes `max_records` at most; a backfill adds about
        so many. What earlier steps did stays, whatever becomes of this one.

        :raises InvalidArgument: where the operation itself would.
        :raises LedgerUnavailable: also when the connection was lost before the answer came, except
            to waive and to backfill, which are repeated then.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters: dict[str, Any] = {
            "operation": operation,
            **_range(pipeline_id, from_time, to_time),
            "reason": reason,
            "max_records": max_records,
        }
        with logs.timed("range_step", **parameters) as outcome:
            row = self._calls.one_row(
                "range_step",
                queries.RANGE_STEP,
                parameters,
                may_run_twice=operation in _REPEATED,
            )
            step = RangeStep(*row)
            outcome["record_count"] = step.changed_count
        return step

    # ---------------------------------------------------------------- operators: pipelines
    def pause_pipeline(self, pipeline_id: str, reason: str) -> None:
        """Lets no record of the pipeline be passed until it is resumed; again, replaces the reason.

        Claims in progress may be completed.

        :raises InvalidArgument: when no reason is given.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        self._change_pipeline("pause_pipeline", queries.PAUSE_PIPELINE, pipeline_id, reason)

    def resume_pipeline(self, pipeline_id: str, reason: str | None = None) -> bool:
        """Lets a paused or retired pipeline run again; returns whether it was one.

        :raises UnknownPipeline: when no such pipeline is registered.
        """
        return bool(
            self._change_pipeline("resume_pipeline", queries.RESUME_PIPELINE, pipeline_id, reason)
        )

    def retire_pipeline(self, pipeline_id: str, reason: str) -> None:
        """Pauses the pipeline for good: no window is stored any more, no status speaks of it.

        :raises InvalidArgument: when no reason is given.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        self._change_pipeline("retire_pipeline", queries.RETIRE_PIPELINE, pipeline_id, reason)

    def set_pipeline_owner(self, pipeline_id: str, role: str | None) -> bool:
        """Gives the pipeline to a role, whose members alone act in it from then on.

        None gives it back to all runners. Returns whether that changed anything. Who registered a
        pipeline may do so, members of its owner, and the ledger's owner.

        :raises InvalidArgument: when the server has no such role.
        :raises PermissionDenied: when the user may not give it away, or not to that role.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters: dict[str, Any] = {"pipeline_id": pipeline_id, "role": role}
        with logs.timed("set_pipeline_owner", **parameters):
            statement = queries.SET_PIPELINE_OWNER
            return bool(self._calls.one_row("set_pipeline_owner", statement, parameters)[0])

    # -------------------------------------------------------------- at risk, late, changed, sealed
    def records_at_risk(
        self,
        pipeline_id: str | None = None,
        limit: int | None = None,
        *,
        only_at_risk: bool = False,
    ) -> list[Record]:
        """Returns the windows that are not done by the time left of their source data, least first.

        Of pipelines with a source_retention: open records, and windows that are due and not stored
        (status None). Rows have source_kept_until, time_left and is_at_risk.
        """
        parameters = {"pipeline_id": pipeline_id, "limit": limit, "only_at_risk": only_at_risk}
        return self._calls.rows("records_at_risk", queries.RECORDS_AT_RISK, parameters)

    def recount_due(self, pipeline_id: str) -> list[Record]:
        """Returns the completed windows whose source should be counted again, longest due first.

        Count each and note it with `observe_record(..., stage='source')`: then it is due no more.
        Rows have window_start_time, window_end_time, target_day, generation, loaded_count,
        counted_at, recount_age and due_at.

        :raises UnknownPipeline: when no such pipeline is registered.
        """
        rows = self._calls.rows("recount_due", queries.RECOUNT_DUE, {"pipeline_id": pipeline_id})
        return [{key: row[key] for key in row if key != "ordinality"} for row in rows]

    def changed_records(self, pipeline_id: str | None = None) -> list[Record]:
        """Returns the completed records whose source has changed since they were loaded.

        Rows have loaded_count, source_count, changed_by and is_beyond_tolerance.
        """
        return self._calls.rows(
            "changed_records", queries.CHANGED_RECORDS, {"pipeline_id": pipeline_id}
        )

    def reopen_changed_records(self, pipeline_id: str) -> int:
        """Reopens records whose source has changed beyond the tolerance; returns how many.

        Oldest first, at most reopen_budget in one local day: safe to repeat, the budget is spent
        once.

        :raises UnknownPipeline: when no such pipeline is registered.
        """
        with logs.timed("reopen_changed_records", pipeline_id=pipeline_id) as outcome:
            count = int(
                self._calls.one_row(
                    "reopen_changed_records",
                    queries.REOPEN_CHANGED_RECORDS,
                    {"pipeline_id": pipeline_id},
                )[0]
            )
            outcome["record_count"] = count
        return count

    def pipeline_lateness(self, pipeline_id: str | None = None) -> list[Record]:
        """Returns how late data came: a row per pipeline and recount age, age 0 included.

        missed_share and worst_missed_share are None when drawn from too few windows.
        """
        return self._calls.rows(
            "pipeline_lateness", queries.PIPELINE_LATENESS, {"pipeline_id": pipeline_id}
        )

    def suggest_x_time_back(
        self, pipeline_id: str, max_missed: Decimal | float | str = 0
    ) -> Record:
        """Returns the shortest measured x_time_back that misses at most a share of the rows.

        Keys: x_time_back (a timedelta, or None when nothing measured says so), missed_share,
        window_count and reason, one sentence.

        :raises InvalidArgument: when max_missed is no share from 0 to 1.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        (row,) = self._calls.rows(
            "suggest_x_time_back",
            queries.SUGGEST_X_TIME_BACK,
            {"pipeline_id": pipeline_id, "max_missed": str(max_missed)},
        )
        return row

    def is_day_sealed(self, pipeline_id: str, local_date: dt.date | str) -> bool:
        """Tells whether completed or waived windows cover a local day, archived ones included.

        From its first to its last instant in the zone in force, whatever zone they were cut with.

        :raises InvalidArgument: when local_date is no date, or text other than '2026-11-22'.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        day = day_text(local_date, "local_date")
        return bool(
            self._calls.one_row("is_day_sealed", queries.IS_DAY_SEALED, (pipeline_id, day))[0]
        )

    def daily_coverage(
        self,
        pipeline_id: str | None = None,
        from_date: dt.date | str | None = None,
        to_date: dt.date | str | None = None,
    ) -> list[Record]:
        """Returns how windows cover each local day, from from_date to to_date, both included.

        Rows have day_length, covered_length, counts of windows, is_published, is_sealed and the
        counted rows per stage. A day of many windows takes milliseconds: give the days you need.

        :raises InvalidArgument: when a date is none, or text other than '2026-11-22'.
        """
        parameters = {
            "pipeline_id": pipeline_id,
            "from_date": None if from_date is None else day_text(from_date, "from_date"),
            "to_date": None if to_date is None else day_text(to_date, "to_date"),
        }
        return self._calls.rows("daily_coverage", queries.DAILY_COVERAGE, parameters)

    # ---------------------------------------------------------------- times as people write them
    def pipeline_time(self, pipeline_id: str, time: Time) -> dt.datetime:
        """Returns the instant that a time of a pipeline names.

        :raises InvalidArgument: when it is not ISO 8601, or clocks show it twice.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        return self._calls.pipeline_time(pipeline_id, time)

    def window_time(self, pipeline_id: str, time: Time) -> dt.datetime:
        """Returns the start of the window that a time of a pipeline names.

        :raises InvalidArgument: when it is not ISO 8601, or could be two windows.
        :raises UnknownPipeline: when no such pipeline is registered.
        """
        return self._calls.window_time(pipeline_id, time)

    # ---------------------------------------------------------------- where all of it stands
    def pipelines(self, pipeline_id: str | None = None) -> list[Record]:
        """Returns the registered pipelines with their configs as the ledger reads them."""
        return self._calls.rows("pipelines", queries.PIPELINES, {"pipeline_id": pipeline_id})

    def pipeline_progress(self, pipeline_id: str | None = None) -> list[Record]:
        """Returns where each pipeline stands: backlog, lag, what it would be passed, or why not."""
        return self._calls.rows(
            "pipeline_progress", queries.PIPELINE_PROGRESS, {"pipeline_id": pipeline_id}
        )

    def pipeline_events(self, pipeline_id: str | None = None) -> list[Record]:
        """Returns what happened to the pipelines themselves: registered, reconfigured, paused."""
        return self._calls.rows(
            "pipeline_events", queries.PIPELINE_EVENTS, {"pipeline_id": pipeline_id}
        )

    def pipeline_records(
        self,
        pipeline_id: str,
        window_start_time: Time | None = None,
        limit: int | None = None,
    ) -> list[Record]:
        """Returns a pipeline's records, oldest first, or the one of a window.

        :raises UnknownPipeline: when a window is named by local time, of a pipeline that is not
            registered.
        """
        parameters = {
            "instant": self._calls.window(window_start_time, pipeline_id),
            "pipeline_id": pipeline_id,
            "limit": limit,
        }
        return self._calls.rows("pipeline_records", queries.PIPELINE_RECORDS, parameters)

    def record_verdicts(
        self,
        pipeline_id: str | None = None,
        window_start_time: Time | None = None,
        limit: int | None = None,
    ) -> list[Record]:
        """Returns every open record with its one verdict and the sentence why, oldest first.

        Of one window, when its start is given.
        """
        start = self._calls.window(window_start_time, pipeline_id)
        parameters = {"pipeline_id": pipeline_id, "instant": start, "limit": limit}
        return self._calls.rows("record_verdicts", queries.RECORD_VERDICTS, parameters)

    def record_events(
        self, pipeline_id: str, window_start_time: Time | None = None
    ) -> list[Record]:
        """Returns what happened to a pipeline's records, or to the one of a window, in order."""
        start = self._calls.window(window_start_time, pipeline_id)
        parameters = {"instant": start, "pipeline_id": pipeline_id}
        return self._calls.rows("record_events", queries.RECORD_EVENTS, parameters)

    def oldest_pending_record(self, pipeline_id: str | None = None) -> Record | None:
        """Returns the oldest pending record of the pipeline, or of all; claims nothing."""
        data, timezone = self._calls.one_row(
            "oldest_pending_record", queries.OLDEST_PENDING_RECORD, (pipeline_id,)
        )
        return None if data is None else record_from_json(data, timezone)

    def oldest_valid_record(self, pipeline_id: str | None = None) -> list[Record]:
        """Returns the record that each pipeline would be passed next; no row when there is none."""
        return self._calls.rows(
            "oldest_valid_record", queries.OLDEST_VALID_RECORD, {"pipeline_id": pipeline_id}
        )

    def new_windows(
        self,
        pipeline_id: str,
        as_of: dt.datetime | None = None,
        max_windows: int | None = None,
    ) -> list[Record]:
        """Returns the windows that are due and not stored, oldest first; only reads.

        Each has target_day, window_start_time, window_end_time and time_interval. `as_of` is the
        instant to look from, by default the server's clock.

        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters: dict[str, Any] = {"pipeline_id": pipeline_id, "max_windows": max_windows}
        if as_of is None:
            return self._calls.rows("new_windows", queries.NEW_WINDOWS, parameters)
        return self._calls.rows(
            "new_windows", queries.NEW_WINDOWS_AS_OF, {**parameters, "as_of": as_of}
        )

    def plan_runs(
        self,
        pipeline_id: str,
        runs: int = 10,
        at: Time | None = None,
        workers: int = 1,
        run_duration: str | None = None,
        *,
        window_start_time: Time | None = None,
    ) -> list[Record]:
        """Returns which windows the next runs will be passed, and when, oldest run first.

        Played forward from `at` (by default now) with `workers` that ask whenever they are free and
        runs that take `run_duration` ('20m'; by default the measured median) and complete. A last
        row without run_no says why fewer runs than asked for can be foreseen. Of the others, only
        that of a window is returned when its start is given.

        :raises InvalidArgument: when a number or a duration is none that can be planned with.
        """
        if run_duration is not None:
            self._calls.check_duration(run_duration)
        parameters = {
            "pipeline_id": pipeline_id,
            "runs": runs,
            "at": at and self._calls.instant(at, pipeline_id),
            "instant": self._calls.window(window_start_time, pipeline_id),
            "workers": workers,
            "run_duration": run_duration,
        }
        return self._calls.rows("plan_runs", queries.PLAN_RUNS, parameters)

    def _pipelines_behind(self, limit: str, pipeline_id: str | None = None) -> list[str]:
        """Returns the pipelines whose lag is greater than a duration like '2h', as SQL compares it.

        :raises InvalidArgument: when `limit` is no duration.
        """
        self._calls.check_duration(limit)
        parameters = {"pipeline_id": pipeline_id, "limit": limit}

        def work(connection: psycopg.Connection[Any]) -> list[str]:
            return [row[0] for row in connection.execute(queries.PIPELINES_BEHIND, parameters)]

        return self._session.run("pipelines_behind", work)

    def _last_run_number(self, pipeline_id: str, run_id: str) -> int:
        """Returns the greatest k for which the run `run_id/k` was passed a record, 0 for none.

        Reads the whole history of the pipeline.
        """
        parameters = {"pipeline_id": pipeline_id, "prefix": f"{run_id}/"}
        return int(self._calls.one_row("last_run_number", queries.LAST_RUN_NUMBER, parameters)[0])

    def _local_day(self, timezone: str, days_ago: int = 0) -> dt.date:
        """Returns the date in a zone by the server's clock, or the one some days before it."""
        parameters = {"timezone": timezone, "days_ago": days_ago}
        day: dt.date = self._calls.one_row("local_day", queries.LOCAL_DAY, parameters)[0]
        return day

    # ---------------------------------------------------------------- the archive, and the past
    def archive_records(self, pipeline_id: str, before: Time, max_records: int = 100_000) -> int:
        """Moves the oldest finished records to the archive and returns how many it moved.

        Those whose window ends at or before `before`, oldest first, up to the first open one; the
        newest record stays, and so does every run's claim to its record. One short transaction:
        call it until it returns 0. `archivable_records` says beforehand what it would do.

        :raises UnknownPipeline: when no such pipeline is registered.
        :raises InvalidArgument: when max_records is less than 1.
        """
        with logs.timed("archive_records", pipeline_id=pipeline_id) as outcome:
            parameters = (pipeline_id, self._calls.instant(before, pipeline_id), max_records)
            row = self._calls.one_row("archive_records", queries.ARCHIVE_RECORDS, parameters)
            outcome["archived_count"] = row[0]
            return int(row[0])

    def archivable_records(
        self, pipeline_id: str, before: Time, max_records: int | None = None
    ) -> Record:
        """Returns what `archive_records` would move, and why the next record stays; only reads.

        Keys: record_count, first_window_start_time, last_window_start_time, archived_until (None
        when there is nothing to move) and reason (None when only `max_records` ends it).

        :raises UnknownPipeline: when no such pipeline is registered.
        """
        parameters = {
            "pipeline_id": pipeline_id,
            "before": self._calls.instant(before, pipeline_id),
            "max_records": max_records,
        }
        return self._calls.rows("archivable_records", queries.ARCHIVABLE_RECORDS, parameters)[0]

    def archived_records(
        self,
        pipeline_id: str,
        window_start_time: Time | None = None,
        limit: int | None = None,
    ) -> list[Record]:
        """Returns a pipeline's archived records, oldest first, or the one of a window.

        Columns are those of `pipeline_records`, and archived_at.
        """
        parameters = {
            "instant": self._calls.window(window_start_time, pipeline_id),
            "pipeline_id": pipeline_id,
            "limit": limit,
        }
        return self._calls.rows("archived_records", queries.ARCHIVED_RECORDS, parameters)

    def archived_record_events(
        self, pipeline_id: str, window_start_time: Time | None = None
    ) -> list[Record]:
        """Returns what had happened to archived records, or to the one of a window, in order."""
        start = self._calls.window(window_start_time, pipeline_id)
        parameters = {"instant": start, "pipeline_id": pipeline_id}
        return self._calls.rows(
            "archived_record_events", queries.ARCHIVED_RECORD_EVENTS, parameters
        )

    def records_as_of(self, at: Time, pipeline_id: str | None = None) -> list[Record]:
        """Returns the records as they stood at an instant, of a pipeline or of all, archived too.

        :raises InvalidArgument: when `at` has no offset and no pipeline is given.
        """
        parameters = {"instant": self._calls.instant(at, pipeline_id), "pipeline_id": pipeline_id}
        return self._calls.rows("records_as_of", queries.RECORDS_AS_OF, parameters)

    def _counts_as_of(self, at: Time, pipeline_id: str | None = None) -> dict[str, dict[str, int]]:
        """Returns how many records each pipeline had in each status at an instant.

        `{pipeline_id: {status: count}}`; a pipeline without any is not in it. Counted by the
        server. Of `at`, what `records_as_of` says.
        """
        parameters = {"instant": self._calls.instant(at, pipeline_id), "pipeline_id": pipeline_id}

        def work(connection: psycopg.Connection[Any]) -> dict[str, dict[str, int]]:
            counts: dict[str, dict[str, int]] = {}
            for name, status, count in connection.execute(queries.COUNTS_AS_OF, parameters):
                counts.setdefault(name, {})[status] = count
            return counts

        return self._session.run("counts_as_of", work)

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
            answered = self._calls.value(
                name,
                statement,
                (config.json, *parameters, built),
                longest=self._session.longest_call,
            )
            answer = read_answer(answered or b"null")
            if not answer["to_build"] or templates is None or asked == _MOST_BUILDS:
                break
            rendered = rendered_windows(templates, answer["to_build"])
            windows, fields_of_windows = zip(*rendered, strict=True)
            warn_of_twins(self.pipeline_records, templates, windows, fields_of_windows)
            built = to_json(
                [
                    built_window(window, window["config_version"], fields)
                    for window, fields in rendered
                ]
            )
        self._timezones[config.pipeline_id] = config.timezone
        return answer, config.timezone

    def _config_sent(self, final_config: object, outcome: dict[str, object]) -> SentConfig:
        """Returns what is sent of a config, and what the runner itself needs of it.

        Leaves out keys that the ledger does not read, once it has been asked about them: the server
        looks for misspelt keys among them and warns. That is worth milliseconds once, and not in
        every pass.

        :raises InvalidConfig: naming every key that JSON cannot carry, or every wrong template.
        """
        sent = sent_before(final_config, self._warned_of)
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
        return as_sent(config, templates)

    def _end_claim(
        self, name: str, statement: str, pipeline_id: str, claim_token: int, *more: object
    ) -> None:
        with logs.timed(name, pipeline_id=pipeline_id, claim_token=claim_token):
            claim = pipeline_id, claim_token_of(claim_token)
            self._calls.value(
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

    def _call(self, name: str, query: str, parameters: dict[str, Any]) -> Any:
        with logs.timed(name, **parameters) as outcome:
            longest = self._session.longest_call
            outcome["returned"] = self._calls.one_row(name, query, parameters, longest=longest)[0]
        return outcome["returned"]

    def _counted(
        self, name: str, query: str, parameters: dict[str, Any], *, may_run_twice: bool = True
    ) -> int:
        with logs.timed(name, **parameters) as outcome:
            row = self._calls.one_row(name, query, parameters, may_run_twice=may_run_twice)
            count = int(row[0])
            outcome["record_count"] = count
        return count

    def _change_pipeline(self, name: str, query: str, pipeline_id: str, reason: str | None) -> Any:
        parameters: dict[str, Any] = {"pipeline_id": pipeline_id, "reason": reason}
        with logs.timed(name, **parameters):
            return self._calls.one_row(name, query, parameters)[0]


def _range(pipeline_id: str, from_time: Time, to_time: Time | None) -> dict[str, Any]:
    return {
        "pipeline_id": pipeline_id,
        "from_time": time_text(from_time),
        "to_time": time_text(to_time),
    }


def _opened(
    kind: type[RecordLedger],
    conninfo: str | None,
    retry: RetryPolicy | None,
    prepare: bool | None = None,
) -> RecordLedger:
    return kind(conninfo, retry=retry, prepare=prepare)
