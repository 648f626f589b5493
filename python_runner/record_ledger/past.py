"""`LedgerPast`: the archive, and the ledger as it stood at any instant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import queries
from .reader import LedgerReader
from .values import Record, Time

if TYPE_CHECKING:
    import psycopg


class LedgerPast(LedgerReader):
    """What reads the archive, or the ledger as of an instant. It only reads, too."""

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
            "instant": self._window(window_start_time, pipeline_id),
            "pipeline_id": pipeline_id,
            "limit": limit,
        }
        return self._rows("archived_records", queries.ARCHIVED_RECORDS, parameters)

    def archived_record_events(
        self, pipeline_id: str, window_start_time: Time | None = None
    ) -> list[Record]:
        """Returns what had happened to archived records, or to the one of a window, in order."""
        start = self._window(window_start_time, pipeline_id)
        parameters = {"instant": start, "pipeline_id": pipeline_id}
        return self._rows("archived_record_events", queries.ARCHIVED_RECORD_EVENTS, parameters)

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
            "before": self._instant(before, pipeline_id),
            "max_records": max_records,
        }
        return self._rows("archivable_records", queries.ARCHIVABLE_RECORDS, parameters)[0]

    def records_as_of(self, at: Time, pipeline_id: str | None = None) -> list[Record]:
        """Returns the records as they stood at an instant, of a pipeline or of all, archived too.

        :raises InvalidArgument: when `at` has no offset and no pipeline is given.
        """
        parameters = {"instant": self._instant(at, pipeline_id), "pipeline_id": pipeline_id}
        return self._rows("records_as_of", queries.RECORDS_AS_OF, parameters)

    def counts_as_of(self, at: Time, pipeline_id: str | None = None) -> dict[str, dict[str, int]]:
        """Returns how many records each pipeline had in each status at an instant.

        `{pipeline_id: {status: count}}`; a pipeline without any is not in it. Counted by the
        server. Of `at`, what `records_as_of` says.
        """
        parameters = {"instant": self._instant(at, pipeline_id), "pipeline_id": pipeline_id}

        def work(connection: psycopg.Connection[Any]) -> dict[str, dict[str, int]]:
            counts: dict[str, dict[str, int]] = {}
            for name, status, count in connection.execute(queries.COUNTS_AS_OF, parameters):
                counts.setdefault(name, {})[status] = count
            return counts

        return self._session.run("counts_as_of", work)
