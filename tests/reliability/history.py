"""The rest of what may happen in the history of a ledger: batches, the archive, late and repeated calls, refused ones."""

from __future__ import annotations

import copy
from collections import Counter
from datetime import datetime, timedelta

from psycopg.types.json import Jsonb

from tests.sql import support
from tests.sql.model_steps import ModelSteps, rendered
from tests.sql.support import one, refused, rows

FINISHED = ("COMPLETED", "WAIVED")
ENDS_AS = {"complete": "completed", "fail": "failed", "give up": "failed", "release": "released"}
LEVELS = ("repeatable read", "serializable")

# Every routine that changes the ledger, with arguments of which only the pipeline exists.
ROUTINES = {
    "register_pipeline": ["{config}"],
    "store_new_records": ["{pipeline}"],
    "pass_valid_record": ["{pipeline}", "strict"],
    "pass_valid_records": ["{config}", "strict", "2"],
    "store_new_and_pass_valid_record": ["{config}", "strict"],
    "complete_record": ["{pipeline}", "{token}"],
    "complete_and_pass": ["{pipeline}", "{token}", "strict"],
    "complete_records": ["{pipeline}", "{tokens}"],
    "fail_record": ["{pipeline}", "{token}", "boom"],
    "release_record": ["{pipeline}", "{token}"],
    "extend_lease": ["{pipeline}", "{token}"],
    "cancel_records": ["{pipeline}", "-infinity", "infinity", "why"],
    "waive_records": ["{pipeline}", "-infinity", "infinity", "why"],
    "reopen_records": ["{pipeline}", "-infinity", "infinity", "why"],
    "expire_leases": ["{pipeline}", "-infinity", "infinity", "why"],
    "range_step": ["waive", "{pipeline}", "-infinity", "infinity", "why"],
    "backfill_records": ["{pipeline}", "2026-11-20"],
    "pause_pipeline": ["{pipeline}", "why"],
    "resume_pipeline": ["{pipeline}", "why"],
    "retire_pipeline": ["{pipeline}", "why"],
    "archive_records": ["{pipeline}", "infinity"],
    "observe_record": ["{pipeline}", "2026-11-22", "source", "1"],
    "waive_counts": ["{pipeline}", "2026-11-22", "why"],
}


def starts(to_build):
    return [datetime.fromisoformat(w["window_start_time"]) for w in to_build]


class History(ModelSteps):
    """Steps that remember every token, and whose oldest finished records go to the archive."""

    def __init__(self, ledger, clock, choices) -> None:
        super().__init__(ledger, clock, choices)
        # Of each pipeline: every token ever drawn, and how its holder ended that claim.
        self.ended = [{} for _ in choices]
        self.observations = Counter()

    def check_pass(self, model, run, answer, verdict, record):
        super().check_pass(model, run, answer, verdict, record)
        if not answer.exit_dag:
            n = next(n for n, other in enumerate(self.models) if other is model)
            self.ended[n][answer.token] = None

    def pass_several(self, n, run, limit):
        """A batch: the cycle for run/1, then a pass for each run/k; drawn once."""
        name, model = self.names[n], self.models[n]
        parts = [None if run is None else f"{run}/{k + 1}" for k in range(limit)]
        was_drawn = parts[0] is not None and parts[0] in model.bound
        answer = self.batch(n, run, limit)
        sent = {}
        if model.to_build(self.now, model.config, parts[0]):
            sent, answer = self.build_asked(n, run, limit, answer)
        while (found := self.passed_parts(model, parts, was_drawn, sent, answer)) is None:
            sent, answer = self.build_asked(n, run, limit, answer)
        passed, first = found
        self.ended[n].update((token, None) for _, token, _, _ in passed)
        assert passed == [
            (datetime.fromisoformat(r["window_start_time"]), r["claim_token"], r["run_id"], r["attempt"])
            for r in answer[3]
        ], name  # fmt: skip
        assert answer[:2] == ((False, "READY") if passed else (True, first)), answer

    def build_asked(self, n, run, limit, answer):
        """Renders what a batch asks for, and asks again with it."""
        assert answer[:2] + answer[3:4] == (True, "INCOMPLETE", [])
        assert answer[4], answer
        self.compare()
        sent = {s: rendered(s) for s in starts(answer[4])}
        return sent, self.batch(n, run, limit, self.entries_of(answer[4], sent))

    @staticmethod
    def entries_of(to_build, sent):
        return [support.entry(w, sent[s]) for w, s in zip(to_build, starts(to_build), strict=True)]

    def passed_parts(self, model, parts, was_drawn, sent, answer):
        """What a batch passes; None when it asks for more: nothing is passed then."""
        before = copy.deepcopy(vars(model))
        model.store(self.now, sent if model.config.has_templates else None)
        model.collect(self.now)
        passed, first = [], None
        for number, part in enumerate(parts):
            if was_drawn and number > 0 and part not in model.bound:
                break
            verdict, record = model.pass_next(part, self.now, sent)
            if verdict == "TO BUILD" and number > 0:
                # All of it is taken back, but for what was sent: it is stored and built.
                vars(model).update(before)
                model.store(self.now, sent)
                for record in model.records:
                    if (
                        record.start in sent
                        and record.status == "PENDING"
                        and model.is_outdated(record)
                    ):
                        model.build(record, sent[record.start])
            if verdict == "TO BUILD":
                return None
            first = first or verdict
            if verdict == "READY":
                token = answer[3][len(passed)]["claim_token"] if len(passed) < len(answer[3]) else 0
                model.pass_to(record, part, token, self.now)
                passed.append((record.start, token, part, record.attempt))
            elif not was_drawn:
                break
        return passed, first

    def batch(self, n, run, limit, built=()):
        (found,) = rows(
            self.ledger,
            "select exit_dag, verdict, reason, records, to_build "
            "from record_ledger.pass_valid_records(%s, %s, %s, %s)",
            [Jsonb(self.written(self.names[n], self.choices[n])), run, limit, Jsonb(list(built))],
        )
        return found

    # ------------------------------------------------------------ the end of claims
    def end(self, n, how, nth, minutes=None):
        claims = self.claims(n)
        token = claims[nth % len(claims)].token if claims else None
        super().end(n, how, nth, minutes)
        if token is not None:
            self.ended[n][token] = ENDS_AS[how]

    def complete_and_pass(self, n, run, nth):
        """The end of a claim and a pass, in one commit."""
        if claims := self.claims(n):
            record = claims[nth % len(claims)]
            token = record.token
            answer = support.complete_and_pass(
                self.ledger,
                token,
                run,
                window=record.start if nth % 2 else None,
                pipeline_id=self.names[n],
            )
            self.models[n].end(record, "complete", self.now)
            self.ended[n][token] = "completed"
            self.passed(n, run, answer)

    def complete_several(self, n, nth):
        """Every other claim, the tokens that are stale, and one that never was, in any order."""
        claims = {record.token: record for record in self.claims(n)[nth % 2 :: 2]}
        stale = self.ended[n].keys() - {record.token for record in self.claims(n)}
        tokens = sorted([*claims, *stale, 2**62 + nth], key=lambda token: token * 31 % 97)
        answer = support.complete_all(self.ledger, tokens, pipeline_id=self.names[n])
        assert list(answer) == tokens
        for token, (outcome, reason) in answer.items():
            done = token in claims or self.ended[n].get(token) == "completed"
            assert (outcome, reason is None) == (("completed", True) if done else ("lost", False))
            if token in claims:
                self.models[n].end(claims[token], "complete", self.now)
                self.ended[n][token] = "completed"

    def finish(self, n, run):
        self.pass_(n, run)
        self.end(n, "complete", 0)

    def end_again(self, n, how, nth):
        """A token that is not current: to repeat how it ended is welcome, and nothing else."""
        current = {record.token for record in self.claims(n)}
        stale = [token for token in self.ended[n] if token not in current]
        token = stale[nth % len(stale)] if stale else 2**62 + nth
        name = self.names[n]
        assert support.claim_state(self.ledger, token, name)[0] == "lost"
        if how == "extend":
            with refused("RL004"):
                support.extend(self.ledger, token, name)
        elif self.ended[n].get(token) == ENDS_AS[how]:
            support.end(self.ledger, how, token, name)
        else:
            with refused("RL004"):
                support.end(self.ledger, how, token, name)

    # ------------------------------------------------------------ what changes nothing
    def observe(self, n, nth, under_claim):
        """A count is noted beside a record in any state; the record stays as it is."""
        if not (records := self.models[n].records):
            return
        record = records[nth % len(records)]
        is_held = under_claim and record.status == "IN_PROGRESS"
        self.observations[n, record.start] += 1
        assert one(
            self.ledger,
            "select record_ledger.observe_record(%s, %s, 'source', 5, '{}', %s)",
            [self.names[n], record.start, record.token if is_held else None],
        ) == self.observations[n, record.start]  # fmt: skip

    def at_a_stricter_level(self, n, level, routine):
        """Any change in a transaction that could not see what it waited for is refused."""
        claims = self.claims(n)
        given = {
            "{config}": Jsonb(self.written(self.names[n], self.choices[n])),
            "{pipeline}": self.names[n],
            "{token}": claims[0].token if claims else 1,
            "{tokens}": [record.token for record in claims],
        }
        arguments = [given.get(text, text) for text in ROUTINES[routine]]
        places = ", ".join(["%s"] * len(arguments))
        verb = "call" if routine == "store_new_records" else "select"
        with refused("RL005", f"isolation level {level}"), self.ledger.transaction():
            self.ledger.execute(f"set transaction isolation level {level}")
            self.ledger.execute(f"{verb} record_ledger.{routine}({places})", arguments)

    # ------------------------------------------------------------ the archive
    def archive(self, n, hours, max_records):
        name, model = self.names[n], self.models[n]
        before = self.now - timedelta(hours=hours)
        gone = []
        while (
            len(model.records) > 1
            and len(gone) < max_records
            and model.records[0].status in FINISHED
            and model.records[0].end <= before
        ):
            gone.append(model.records.pop(0))
        foreseen = one(
            self.ledger,
            "select record_count from record_ledger.archivable_records(%s, %s, %s)",
            [name, before, max_records],
        )
        moved = support.archive(self.ledger, before, max_records, name)
        assert moved == foreseen == len(gone)
        if gone:
            model.archived += gone
            assert rows(
                self.ledger,
                "select window_start_time, window_end_time, status, attempt, run_id, claim_token "
                "from record_ledger.archived_records where pipeline_id = %s order by 1 desc limit %s",
                [name, moved],
            ) == [(r.start, r.end, r.status, r.attempt, r.run, r.token) for r in reversed(gone)]
