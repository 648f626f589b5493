"""`LedgerTrust`: whether the data can be relied on: what is at risk, late, changed, and sealed."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from . import logs, queries
from .observer import LedgerObserver
from .values import day_text

if TYPE_CHECKING:
    from decimal import Decimal

    from .values import Record


class LedgerTrust(LedgerObserver):
    """What a pipeline's data can be trusted for: counts, and what follows from them."""

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
        return self._rows("records_at_risk", queries.RECORDS_AT_RISK, parameters)

    def recount_due(self, pipeline_id: str) -> list[Record]:
        """Returns the completed windows whose source should be counted again, longest due first.

        Count each and note it with `observe_record(..., stage='source')`: then it is due no more.
        Rows have window_start_time, window_end_time, target_day, generation, loaded_count,
        counted_at, recount_age and due_at.

        :raises UnknownPipeline: when no such pipeline is registered.
        """
        rows = self._rows("recount_due", queries.RECOUNT_DUE, {"pipeline_id": pipeline_id})
        return [{key: row[key] for key in row if key != "ordinality"} for row in rows]

    def changed_records(self, pipeline_id: str | None = None) -> list[Record]:
        """Returns the completed records whose source has changed since they were loaded.

        Rows have loaded_count, source_count, changed_by and is_beyond_tolerance.
        """
        return self._rows("changed_records", queries.CHANGED_RECORDS, {"pipeline_id": pipeline_id})

    def reopen_changed_records(self, pipeline_id: str) -> int:
        """Reopens records whose source has changed beyond the tolerance; returns how many.

        Oldest first, at most reopen_budget in one local day: safe to repeat, the budget is spent
        once.

        :raises UnknownPipeline: when no such pipeline is registered.
        """
        with logs.timed("reopen_changed_records", pipeline_id=pipeline_id) as outcome:
            count = int(
                self._one_row(
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
        return self._rows(
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
        (row,) = self._rows(
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
        return bool(self._one_row("is_day_sealed", queries.IS_DAY_SEALED, (pipeline_id, day))[0])

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
        return self._rows("daily_coverage", queries.DAILY_COVERAGE, parameters)
