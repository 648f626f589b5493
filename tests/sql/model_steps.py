"""The steps of the state machine test: in the database and beside it in the model; compared after each."""

from __future__ import annotations

import copy
from collections import Counter
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

from tests.sql import support
from tests.sql.model import Pipeline
from tests.sql.model_parts import Config
from tests.sql.support import cycle, pass_valid, register, rows, store

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
ZONES = {"UTC": 0 * HOUR, "Asia/Kathmandu": 5.75 * HOUR, "Etc/GMT+5": -5 * HOUR}
FIELDS = {
    "plain": {"key_x": "x"},
    "empty": {"key_x": ""},
    "templates": {"key_x": "{{ window_start_time }}"},
}
_numbers = count()


def rendered(start):
    """What the templates give: now and then nothing."""
    return {"key_x": "" if start.hour % 3 == 1 else start.isoformat()}


class ModelSteps:
    """Two pipelines in the database and beside them in the model."""

    def __init__(self, ledger, clock, choices) -> None:
        self.ledger, self.clock = ledger, clock
        self.now = START + 4 * HOUR
        clock.set(self.now)
        self.names = [f"p{next(_numbers)}" for _ in choices]
        self.models, self.choices = [], list(choices)
        for name, choice in zip(self.names, choices, strict=True):
            register(ledger, self.written(name, choice))
            self.models.append(Pipeline(self.modelled(choice), START))

    def written(self, name: str, choice: dict[str, Any]) -> dict[str, Any]:
        given = {key: value for key, value in choice.items() if key not in ("fields", "zone")}
        fields = {"pipeline_id": name, **FIELDS[choice["fields"]]}
        return {
            **given,
            "timezone": choice["zone"],
            "default_record": fields,
            "start_at": START.isoformat(),
        }

    def modelled(self, choice: dict[str, Any]) -> Config:
        def length(key):
            ((seconds,),) = rows(
                self.ledger,
                "select extract(epoch from record_ledger.duration(%s))::float8",
                [choice[key]],
            )
            return timedelta(seconds=seconds)

        return Config(
            fields=FIELDS[choice["fields"]],
            offset=ZONES[choice["zone"]],
            check_fields=tuple(choice["check_fields"]),
            max_active=choice["max_active_records"],
            depends_on_past=choice["depends_on_past"],
            max_attempts=choice["max_attempts"],
            backfill_share=Decimal(str(choice["backfill_share"])),
            **{
                key: length(key)
                for key in (
                    "granularity",
                    "x_time_back",
                    "lease",
                    "retry_delay",
                    "source_retention",
                    "at_risk_within",
                )
                if choice.get(key)
            },
        )

    # ------------------------------------------------------------ steps
    def cycle(self, n, run, choice=None):
        name, model = self.names[n], self.models[n]
        given = self.written(name, choice or self.choices[n])
        config = self.modelled(choice) if choice else model.config
        wanted = model.to_build(self.now, config, run)
        answer, sent = cycle(self.ledger, given, run), {}
        if wanted:
            # Nothing was written: the config is not in force yet either.
            sent = self.asked_for(answer, wanted)
            answer = cycle(self.ledger, given, run, self.entries(answer, sent))
        self.choices[n] = choice or self.choices[n]
        model.register(config)
        while True:
            model.store(self.now, sent if model.config.has_templates else None)
            model.collect(self.now)
            verdict, record = model.pass_next(run, self.now, sent)
            if verdict != "TO BUILD":
                break
            # Some gave nothing, or a claim was taken back only now: asked for under the lock.
            sent = self.asked_for(answer, model.to_build(self.now, config, run))
            answer = cycle(self.ledger, given, run, self.entries(answer, sent))
        self.check_pass(model, run, answer, verdict, record)

    def asked_for(self, answer, wanted):
        assert [datetime.fromisoformat(w["window_start_time"]) for w in answer.to_build] == wanted
        assert (answer.exit_dag, answer.verdict, answer.record) == (True, "INCOMPLETE", None)
        self.compare()
        return {start: rendered(start) for start in wanted}

    @staticmethod
    def entries(answer, sent):
        return [
            support.entry(w, sent[datetime.fromisoformat(w["window_start_time"])])
            for w in answer.to_build
        ]

    def pass_(self, n, run):
        self.passed(n, run, pass_valid(self.ledger, self.names[n], run))

    def passed(self, n, run, answer):
        """A pass without a config has answered so."""
        model = self.models[n]
        model.collect(self.now)
        verdict, record = model.pass_next(run, self.now, {})
        if verdict == "TO BUILD":
            assert "the next run with its config builds it" in answer.reason
            verdict = "INCOMPLETE"
        self.check_pass(model, run, answer, verdict, record)

    def check_pass(self, model, run, answer, verdict, record):
        assert answer.verdict == verdict, answer
        assert answer.exit_dag == (verdict != "READY")
        if verdict == "READY":
            assert answer.start == record.start
            model.pass_to(record, run, answer.token, self.now)
            assert answer.record["attempt"] == record.attempt
            assert answer.record["key_x"] == record.fields["key_x"]

    def store(self, n):
        model = self.models[n]
        assert store(self.ledger, self.names[n]) == model.store(self.now)

    def claims(self, n):
        return [r for r in self.models[n].records if r.status == "IN_PROGRESS"]

    def end(self, n, how, nth, minutes=None):
        if claims := self.claims(n):
            record = claims[nth % len(claims)]
            call = {"give up": "fail"}.get(how, how)
            not_before = None if minutes is None else self.now + timedelta(minutes=minutes)
            options = {
                "give up": {"retry": False},
                "release": {"not_before": not_before},
            }.get(how, {})
            support.ENDINGS[call](
                self.ledger,
                record.token,
                pipeline_id=self.names[n],
                # With the window named, and without.
                window=record.start if nth % 2 else None,
                **options,
            )
            self.models[n].end(record, how, self.now, not_before)

    def extend(self, n, nth):
        if claims := self.claims(n):
            record = claims[nth % len(claims)]
            record.lease_until = self.now + self.models[n].config.lease
            found = support.extend(self.ledger, record.token, self.names[n])
            assert found == record.lease_until
            state, _, by = support.claim_state(self.ledger, record.token, self.names[n])
            assert (state, by is None) == (
                ("cancelled", False) if record.is_cancelled else ("current", True)
            )

    def advance(self, duration):
        self.now = self.clock.advance(duration).astimezone(timezone.utc)

    def register(self, n, choice):
        self.choices[n] = choice
        register(self.ledger, self.written(self.names[n], choice))
        self.models[n].register(self.modelled(choice))

    def over_range(self, n, operation, bounds):
        model, name = self.models[n], self.names[n]
        if bounds[0] == bounds[1]:
            with support.refused("RL005"):
                support.operate(self.ledger, operation, *bounds, pipeline_id=name)
            return
        bounds = sorted(bounds)
        found = support.effects(self.ledger, operation, *bounds, pipeline_id=name)
        counted = Counter()
        for effect, status, _, number, first, last in found:
            counted[effect, status] += number
            assert first < bounds[1] and last > bounds[0]
        assert counted == model.effects(operation, *bounds, self.now)
        changed = support.operate(self.ledger, operation, *bounds, pipeline_id=name)
        assert changed == model.operate(operation, *bounds, self.now)
        assert changed == sum(c for (effect, _), c in counted.items() if effect == "changed")

    def backfill(self, n, hours, microseconds):
        model, name = self.models[n], self.names[n]
        first = model.records[0].start if model.records else START
        from_time = first - timedelta(hours=hours, microseconds=microseconds)
        if model.retired or not model.records or (model.archived and from_time < first):
            for call in (support.backfill, partial(support.effects, operation="backfill")):
                with support.refused("RL005", "retired|no record yet|archived until"):
                    call(self.ledger, from_time=from_time, pipeline_id=name)
            return
        planned = model.windows_before(from_time)
        found = support.effects(self.ledger, "backfill", from_time, pipeline_id=name)
        changed = [row[1:] for row in found if row[0] == "changed"]
        assert changed == [
            ("PENDING", why, len(group), group[0][0], group[-1][1])
            for why, group in (
                (
                    "is added, and its source data is gone: the next pass waives it as lost",
                    [window for window in planned if model.lost(window[1], self.now)],
                ),
                (
                    "is added before the first window",
                    [window for window in planned if not model.lost(window[1], self.now)],
                ),
            )
            if group
        ]
        assert sum(row[3] for row in found if row[0] == "left alone") == sum(
            r.end > from_time for r in model.records
        )
        assert support.backfill(self.ledger, from_time, pipeline_id=name) == model.backfill(
            from_time
        )

    def on_pipeline(self, n, verb):
        model = self.models[n]
        answer = support.on_pipeline(self.ledger, verb, pipeline_id=self.names[n])
        if verb == "resume":
            assert answer is model.paused
        model.paused = verb != "resume"
        model.retired = verb == "retire" or (verb == "pause" and model.retired)

    # ------------------------------------------------------------ the comparison
    def compare(self):
        found: dict[str, list[Any]] = {name: [] for name in self.names}
        for name, *row in rows(
            self.ledger,
            "select pipeline_id, window_start_time, window_end_time, status, generation, attempt, run_id, claim_token, "
            "lease_expires_at, retry_at, config_version from record_ledger.pipeline_records "
            "where pipeline_id = any(%s) order by 1, 2",
            [self.names],
        ):
            found[name].append(tuple(row))
        verdicts = rows(
            self.ledger,
            "select pipeline_id, window_start_time, verdict, ready_at, coalesce(missing_fields, '{}') "
            "from record_ledger.record_verdicts where pipeline_id = any(%s) order by 1, 2",
            [self.names],
        )
        valid = dict(
            rows(
                self.ledger,
                "select pipeline_id, window_start_time from record_ledger.oldest_valid_record "
                "where pipeline_id = any(%s)",
                [self.names],
            )
        )
        progress = {
            row[0]: row[1:]
            for row in rows(
                self.ledger,
                "select pipeline_id, verdict, oldest_valid_window, pending_count, incomplete_count, "
                "in_progress_count, failed_count, done_until, last_window_end_time, next_window_start_time, "
                "next_window_due_at, extract(epoch from lag)::float8, at_risk_count, lost_count "
                "from record_ledger.pipeline_progress where pipeline_id = any(%s)",
                [self.names],
            )
        }
        for name, model in zip(self.names, self.models, strict=True):
            assert found[name] == [
                (
                    r.start,
                    r.end,
                    r.status,
                    r.generation,
                    r.attempt,
                    r.run,
                    r.token,
                    r.lease_until,
                    r.retry_at,
                    r.built_with,
                )
                for r in model.records
            ]
            assert [row[1:] for row in verdicts if row[0] == name] == [
                (r.start, model.verdict(r, self.now), model.ready_at(r, self.now), model.missing(r))
                for r in model.records
                if r.status in ("PENDING", "IN_PROGRESS", "FAILED")
            ]
            collected = copy.deepcopy(model)
            collected.collect(self.now)
            verdict, record = collected.answer(None, self.now)
            expected = record.start if verdict == "READY" else None
            assert valid.get(name) == expected
            stands = None if model.retired else self.progress(model, verdict, expected)
            assert progress.get(name) == stands

    def progress(self, model, verdict, oldest_valid):
        def number(*statuses):
            return sum(r.status in statuses for r in model.records)

        not_done = [r for r in model.records if r.status in ("PENDING", "IN_PROGRESS", "FAILED")]
        end = not_done[0].end if not_done else model.window_end(model.next_start)
        return (
            verdict,
            oldest_valid,
            number("PENDING"),
            sum(r.status == "PENDING" and bool(model.missing(r)) for r in model.records),
            number("IN_PROGRESS"),
            number("FAILED"),
            not_done[0].start if not_done else model.next_start,
            model.records[-1].end if model.records else None,
            model.next_start,
            model.next_start + model.config.x_time_back,
            max(0.0, (self.now - model.config.x_time_back - end).total_seconds()),
            model.at_risk_count(self.now),
            model.lost_count,
        )
