"""The state machine: the database refuses each change of a record that the diagram does not have."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from tests.sql.counts.counting import observe
from tests.sql.support import (
    PIPELINE,
    audit,
    complete,
    extend,
    fail,
    one,
    pass_valid,
    record_of,
    refused,
    register,
    rows,
    snapshot,
    store,
)

START = datetime(2026, 11, 22, tzinfo=timezone.utc)
STATUSES = ["PENDING", "IN_PROGRESS", "COMPLETED", "FAILED", "WAIVED"]
HOURS = {status: START + timedelta(hours=n) for n, status in enumerate(STATUSES)}

# from -> to: the event that makes it, and how attempt and generation change with it.
LEGAL = {
    ("PENDING", "IN_PROGRESS"): ["passed"],
    ("PENDING", "WAIVED"): ["waived"],
    ("PENDING", "PENDING"): ["rebuilt"],
    ("IN_PROGRESS", "COMPLETED"): ["completed"],
    ("IN_PROGRESS", "IN_PROGRESS"): ["passed_again", "cancelled"],
    ("IN_PROGRESS", "PENDING"): ["failed", "lease_expired", "released"],
    ("IN_PROGRESS", "FAILED"): ["failed", "lease_expired"],
    ("FAILED", "WAIVED"): ["waived"],
    ("COMPLETED", "PENDING"): ["reopened"],
    ("FAILED", "PENDING"): ["reopened"],
    ("WAIVED", "PENDING"): ["reopened"],
}
# Saying once more what was said last changes nothing, so there is nothing to refuse.
NO_CHANGE = [("COMPLETED", "completed"), ("FAILED", "failed"), ("WAIVED", "waived")]
# What each event does besides; %(token)s is a fresh claim token.
EFFECTS = {
    "passed": "attempt = attempt + 1, claim_token = %(token)s, lease_expires_at = now(), retry_at = null",
    "passed_again": "claim_token = %(token)s, lease_expires_at = now()",
    "completed": "lease_expires_at = null",
    "failed": "lease_expires_at = null",
    "lease_expired": "lease_expires_at = null",
    "released": "lease_expires_at = null, attempt = attempt - 1",
    "cancelled": 'cancellation = \'{"cancelled_by": "a", "cancelled_at": "b", "cancel_reason": "c"}\'',
    "waived": "retry_at = null",
    "reopened": "generation = generation + 1, attempt = 0",
    "rebuilt": "missing_fields = null",
}


@pytest.fixture
def orders(ledger, clock, config):
    """A pipeline with one record in each status, an hour after another."""
    clock.set(START + timedelta(hours=len(STATUSES)))
    register(
        ledger,
        config(
            PIPELINE, timezone="UTC", x_time_back="0s", granularity="1h", start_at=START.isoformat()
        ),
    )
    store(ledger, PIPELINE)
    answers = [pass_valid(ledger, PIPELINE, f"run {n}") for n in range(len(STATUSES))]
    complete(ledger, answers[STATUSES.index("COMPLETED")].token)
    fail(ledger, answers[STATUSES.index("FAILED")].token, retry=False)
    for status in ("PENDING", "WAIVED"):
        ledger.execute(
            "select record_ledger.release_record(%s, %s)",
            [PIPELINE, answers[STATUSES.index(status)].token],
        )
    ledger.execute(
        "update record_ledger.record set status = 'WAIVED', last_event = 'waived' where window_start_time = %s",
        [HOURS["WAIVED"]],
    )
    observe(ledger, HOURS["COMPLETED"], "source", 1200)
    assert [s for (s,) in rows(ledger, "select status from record_ledger.pipeline_records order by window_start_time")
            ] == STATUSES  # fmt: skip
    return PIPELINE


def changed(effects, to, event, *, keep_claim=False, named=...):
    """An update that brings about an event and leads to a status, named or not: the ledger writes it."""
    parts = [f"last_event = '{event}'", "last_detail = '{}'", effects]
    if named is not None:
        parts.append(f"status = '{to if named is ... else named}'")
    if to == "PENDING" and event in ("failed", "lease_expired"):
        parts.append("retry_at = now()")
    if to == "PENDING" and "claim_token" not in effects and not keep_claim:
        parts.append("claim_token = null, run_id = null")
    return (
        "update record_ledger.record set "
        + ", ".join(parts)
        + " where window_start_time = %(start)s"
    )


@pytest.mark.parametrize("before", STATUSES)
def test_every_change_that_the_diagram_does_not_show_is_refused(ledger, orders, before):
    unchanged = snapshot(ledger)
    outcomes = {(event, after) for (_, after), events in LEGAL.items() for event in events}
    for event, after in sorted(outcomes):
        for named in [None, *STATUSES]:
            query = changed(EFFECTS[event], after, event, named=named)
            if (before, event) in NO_CHANGE and named in (None, before):
                continue
            if event in LEGAL.get((before, after), []) and named in (None, before, after):
                with ledger.transaction(force_rollback=True):
                    ledger.execute(query, {"start": HOURS[before], "token": 2**53 - 1})
                    assert record_of(ledger, HOURS[before])["status"] == after
                    audit(ledger)
            else:
                with refused("RL003", "illegal change"):
                    ledger.execute(query, {"start": HOURS[before], "token": 2**53 - 1})
    assert snapshot(ledger) == unchanged


@pytest.mark.parametrize("before", STATUSES)
def test_a_status_alone_cannot_be_changed(ledger, orders, before):
    for after in STATUSES:
        if after != before:
            with refused("RL003"):
                ledger.execute(
                    "update record_ledger.record set status = %s where window_start_time = %s",
                    [after, HOURS[before]],
                )
    with refused("RL003"):
        ledger.execute(
            "update record_ledger.record set status = 'DONE', last_event = 'completed' where window_start_time = %s",
            [HOURS[before]],
        )


WRONG = {
    "PENDING": [
        "attempt = attempt + 1", "generation = 2", "claim_token = 5", "run_id = 'x'", "lease_expires_at = now()",
        "fields = '{}'", "retry_at = 'infinity'", "cancellation = '{}'", "postponement = '{}'",
    ],
    "IN_PROGRESS": [
        "attempt = 0", "attempt = attempt + 1", "generation = 2", "claim_token = null", "claim_token = 10^6",
        "run_id = 'x'", "lease_expires_at = null", "fields = '{\"a\": 1}'", "retry_at = now()",
        "cancellation = '{\"cancelled_by\": \"a\"}'", "postponement = '{}'",
    ],
    "COMPLETED": ["attempt = 2", "claim_token = null", "lease_expires_at = now()", "run_id = null", "fields = '{}'"],
    "FAILED": ["attempt = 0", "lease_expires_at = now()", "retry_at = now()", "generation = 7"],
    "WAIVED": ["attempt = 3", "claim_token = 8", "lease_expires_at = now()"],
}  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
def test_what_a_status_needs_cannot_be_taken_from_it_nor_anything_added(ledger, orders, status):
    before = snapshot(ledger)
    taken = []
    for change in WRONG[status]:
        try:
            ledger.execute(
                f"update record_ledger.record set {change} where window_start_time = %s",
                [HOURS[status]],
            )
        except psycopg.Error as error:
            if error.sqlstate != "RL003":
                taken.append(f"{change}: {error}")
        else:
            taken.append(change)
    assert not taken
    assert snapshot(ledger) == before


CANCELLED = {
    "completed": "COMPLETED",
    "failed": "FAILED",
    "lease_expired": "FAILED",
    "released": "FAILED",
    "counts_waived": "IN_PROGRESS",
}


@pytest.mark.parametrize("is_to_come_back", [False, True])
@pytest.mark.parametrize("event", [*EFFECTS, "counts_waived"])
def test_a_cancelled_record_is_completed_or_fails_for_good(ledger, orders, event, is_to_come_back):
    start = HOURS["IN_PROGRESS"]
    ledger.execute(changed(EFFECTS["cancelled"], "IN_PROGRESS", "cancelled"), {"start": start})
    ends = event in ("completed", "failed", "lease_expired", "released")
    query = changed(
        EFFECTS.get(event, "counts_waived = true") + (", cancellation = null" if ends else ""),
        "PENDING" if is_to_come_back else "",
        event,
        named=None,
    )
    query = query.replace('"a"', '"another"')
    before = snapshot(ledger)
    is_in_vain = event == "completed" and is_to_come_back
    is_in_vain = is_in_vain or (event == "counts_waived" and is_to_come_back)
    if event not in CANCELLED or is_in_vain:
        with refused("RL003", "illegal change"):
            ledger.execute(query, {"start": start, "token": 2**53 - 1})
        assert snapshot(ledger) == before
        return
    ledger.execute(query, {"start": start, "token": 2**53 - 1})
    found = record_of(ledger, start)
    assert found["status"] == CANCELLED[event]
    assert found["claim_token"] is not None and found["run_id"] == "run 1"
    assert found["retry_at"] is None
    audit(ledger)


def test_a_cancellation_is_not_dropped_or_changed_while_the_record_is_in_progress(ledger, orders):
    start = HOURS["IN_PROGRESS"]
    ledger.execute(changed(EFFECTS["cancelled"], "IN_PROGRESS", "cancelled"), {"start": start})
    before = snapshot(ledger)
    for change in ("cancellation = null", 'cancellation = \'{"cancelled_by": "b"}\''):
        for event in ("", ", last_event = 'counts_waived', last_detail = '{}'"):
            with refused("RL003"):
                ledger.execute(
                    f"update record_ledger.record set {change}{event} where window_start_time = %s",
                    [start],
                )
    # Nor may a run end it and leave the cancellation behind.
    with refused("RL003"):
        ledger.execute(changed(EFFECTS["completed"], "COMPLETED", "completed"), {"start": start})
    assert snapshot(ledger) == before


def test_a_postponement_is_of_a_pending_record_that_waits(ledger, orders):
    start = HOURS["IN_PROGRESS"]
    given = 'postponement = \'{"not_before": "t"}\''
    effects = f"{EFFECTS['released']}, {given}"
    with refused("RL003"):
        ledger.execute(changed(effects, "PENDING", "released"), {"start": start})
    for event in ("completed", "passed_again"):
        with refused("RL003"):
            ledger.execute(
                changed(f"{EFFECTS[event]}, {given}", "", event, named=None),
                {"start": start, "token": 2**53 - 1},
            )
    ledger.execute(changed(effects + ", retry_at = now()", "PENDING", "released"), {"start": start})
    assert record_of(ledger, start)["retry_at"] is not None
    with refused("RL003"):
        ledger.execute(changed(EFFECTS["passed"], "IN_PROGRESS", "passed"), {"start": start, "token": 2**53 - 1})  # fmt: skip
    audit(ledger)


def test_illegal_values_of_a_legal_event_are_refused(ledger, orders):
    legal = {
        "PENDING": ("passed", "IN_PROGRESS", EFFECTS["passed"]),
        "IN_PROGRESS": ("failed", "PENDING", EFFECTS["failed"]),
    }
    wrong = {
        "PENDING": ["generation = 2", "fields = '{\"a\": 1}'", "event_count = 7"],
        "IN_PROGRESS": [
            "attempt = 0",
            "generation = 2",
            "fields = '{\"a\": 1}'",
            "event_count = 0",
        ],
    }
    for status, (event, after, effects) in legal.items():
        for more in wrong[status]:
            with refused("RL003"):
                ledger.execute(
                    changed(f"{effects}, {more}", after, event),
                    {"start": HOURS[status], "token": 2**53 - 1},
                )
    with refused("RL003"):
        ledger.execute(
            changed("lease_expires_at = null", "PENDING", "released", keep_claim=True),
            {"start": HOURS["IN_PROGRESS"], "token": 1},
        )
    # A token older than the current one is not a new claim.
    with refused("RL003"):
        ledger.execute(changed(EFFECTS["passed_again"], "IN_PROGRESS", "passed_again"),
                       {"start": HOURS["IN_PROGRESS"], "token": 0})  # fmt: skip


KEPT = {
    "pipeline_id": "'other'",
    "window_start_time": "window_start_time - interval '1 minute'",
    "window_end_time": "window_end_time + interval '1 minute'",
    "previous_window_start_time": "coalesce(previous_window_start_time, now()) - interval '2 hours'",
    "target_day": "target_day + 1",
    "created_at": "created_at - interval '1 day'",
    "event_count": "event_count + 1",
    "generation": "generation + 1",
    "fields": "fields || '{\"a\": 1}'",
    "is_historical": "not is_historical",
    "counts_waived": "not counts_waived",
}


@pytest.mark.parametrize(
    ("status", "event", "after"),
    [("PENDING", "passed", "IN_PROGRESS"), ("IN_PROGRESS", "completed", "COMPLETED")],
)
def test_a_pass_and_a_completion_change_nothing_that_is_to_be_kept(
    ledger, orders, status, event, after
):
    before = snapshot(ledger)
    for column, other in KEPT.items():
        # Nor can it be made unknown, which no comparison would tell.
        for value in (other, "null"):
            query = changed(f"{EFFECTS[event]}, {column} = {value}", after, event, named=None)
            if (column, value) == ("previous_window_start_time", "null") and status == "PENDING":
                continue
            with refused("RL003", "illegal change"):
                ledger.execute(query, {"start": HOURS[status], "token": 2**53 - 1})
    assert snapshot(ledger) == before


@pytest.mark.parametrize(
    "change",
    [
        "pipeline_id = 'other'",
        "window_start_time = window_start_time - interval '1 minute'",
        "window_end_time = window_end_time + interval '1 minute'",
        "previous_window_start_time = null",
        "previous_window_start_time = window_start_time - interval '2 hours'",
        "target_day = target_day + 1",
        "created_at = created_at - interval '1 day'",
    ],
)
@pytest.mark.parametrize("status", ["PENDING", "COMPLETED"])
def test_a_stored_window_never_moves(ledger, orders, status, change):
    start = START + timedelta(hours=1) if status == "PENDING" else HOURS[status]
    with refused("RL003"):
        ledger.execute(
            f"update record_ledger.record set {change} where window_start_time = %s", [start]
        )


TABLES = ["pipeline", "pipeline_event", "record", "record_event", "record_observation", "claim"]


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_never_deleted_or_truncated(ledger, orders, table):
    assert one(ledger, f"select count(*) > 0 from record_ledger.{table}")
    before = snapshot(ledger)
    with refused("RL003", f"record_ledger.{table}"):
        ledger.execute(f"delete from record_ledger.{table}")
    with refused("RL003", "truncate"):
        ledger.execute(f"truncate record_ledger.{table} cascade")
    assert snapshot(ledger) == before


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("record_event", "detail = '{}'"),
        ("record_event", "event_time = event_time"),
        ("record_observation", "row_count = 7"),
        ("pipeline_event", "actor = 'intruder'"),
        ("claim", "bound_run_id = null"),
    ],
)
def test_history_is_never_rewritten(ledger, orders, table, change):
    with refused("RL003", "history"):
        ledger.execute(f"update record_ledger.{table} set {change}")


def test_a_heartbeat_and_a_pause_are_no_event(ledger, orders):
    before = rows(ledger, "select count(*) from record_ledger.record_events")
    token = one(
        ledger,
        "select claim_token from record_ledger.pipeline_records where status = 'IN_PROGRESS'",
    )
    extend(ledger, token)
    ledger.execute(
        "update record_ledger.pipeline set paused_at = now(), paused_by = 'me', pause_reason = 'why'"
    )
    assert rows(ledger, "select count(*) from record_ledger.record_events") == before


def test_events_tell_the_whole_life_of_a_record(ledger, clock, orders):
    start = HOURS["PENDING"]
    clock.advance("1m")
    answer = pass_valid(ledger, orders, "another")
    fail(ledger, answer.token, error="no disk")
    found = rows(
        ledger,
        "select event_no, event, from_status, to_status, attempt, run_id, claim_token = %s, event_time, detail "
        "from record_ledger.record_events where window_start_time = %s order by 1",
        [answer.token, start],
    )
    noon = START + timedelta(hours=5)
    assert [row[:7] for row in found] == [
        (1, "passed", "PENDING", "IN_PROGRESS", 1, "run 0", False),
        (2, "released", "IN_PROGRESS", "PENDING", 1, "run 0", False),
        (3, "passed", "PENDING", "IN_PROGRESS", 1, "another", True),
        (4, "failed", "IN_PROGRESS", "PENDING", 1, "another", True),
    ]
    assert [row[7] for row in found] == [noon, noon, *[noon + timedelta(minutes=1)] * 2]
    assert found[3][8] == {"error": "no disk", "retry": True}
    audit(ledger)
