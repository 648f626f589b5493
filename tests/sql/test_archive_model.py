"""Random lives of ledgers that are archived now and then, compared with the naive model after every step."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sql.support import archive, audit, one, rows
from tests.sql.test_model import Walk, configs, run, steps, take, which

FINISHED = ("COMPLETED", "WAIVED")
# Enough ends of windows, and enough passes that complete, for something to be archived.
archiving = st.tuples(
    st.just("archive"), which, st.sampled_from([0, 1, 2, 5]), st.sampled_from([1, 2, 100])
)
finishing = st.tuples(st.just("finish"), which, run)
lives = {
    "choices": st.tuples(configs, configs),
    "life": st.lists(
        st.one_of(steps, archiving, archiving, finishing, finishing), min_size=30, max_size=60
    ),
}


class ArchivingWalk(Walk):
    """A walk in which the oldest finished records leave the model as they leave the ledger."""

    moved = 0

    def finish(self, n, run):
        self.pass_(n, run)
        self.end(n, "complete", 0)

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
        moved = archive(self.ledger, before, max_records, name)
        assert moved == foreseen == len(gone)
        if gone:
            model.archived = True
            assert rows(
                self.ledger,
                "select window_start_time, window_end_time, status, attempt, run_id, claim_token "
                "from record_ledger.archived_records where pipeline_id = %s order by 1 desc limit %s",
                [name, moved],
            ) == [(r.start, r.end, r.status, r.attempt, r.run, r.token) for r in reversed(gone)]
        self.moved += moved


def live(ledger, clock, choices, life):
    walk = ArchivingWalk(ledger, clock, choices)
    for step in life:
        take(walk, step)
        walk.compare()
    audit(ledger)
    return walk.moved


@settings(max_examples=8)
@given(**lives)
def test_an_archived_ledger_agrees_with_the_model_of_one_that_forgets(ledger, clock, choices, life):
    live(ledger, clock, choices, life)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
@settings(max_examples=50)
@given(**lives)
def test_an_archived_ledger_agrees_with_it_in_many_more_lives(ledger, clock, part, choices, life):
    live(ledger, clock, choices, life)
