"""Elasticsearch as a source: a point in time, read page by page; clients of release 8 and 9."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from elastic_transport import ConnectionError as NoConnection
from elastic_transport import ConnectionTimeout, TlsError, TransportError
from elasticsearch import ApiError, Elasticsearch

from record_ledger import logs
from record_ledger.moving.errors import MoveFailed
from record_ledger.moving.protocols import StartAgain, document_line

from .retrying import POLICY, retry_after, retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from record_ledger.client import RecordLedger
    from record_ledger.connection import RetryPolicy
    from record_ledger.moving.settings import Settings
    from record_ledger.values import Record

Result = TypeVar("Result")

# A range over another type compares something else than instants.
_DATES = ("date", "date_nanos")
_TEMPORARY = (429, 502, 503, 504)
# A point in time that expires so often without a page in between has too short a keep_alive.
_RENEWALS_WITHOUT_A_PAGE = 3


def from_settings(settings: Settings, _ledger: RecordLedger) -> ElasticsearchSource:
    """Returns the source that a definition's table describes; `client` is what the client takes."""
    options = settings.table("client")
    arguments = {
        "index": settings.text("index"),
        "time_field": settings.text("time_field", "@timestamp"),
        "tiebreaker": settings.text("tiebreaker", None),
        "query": settings.table("query", None),
        "page_size": settings.number("page_size", 2000, 1, 10_000),
        "keep_alive": settings.text("keep_alive", "5m"),
    }
    settings.check()
    client = settings.made("client", lambda: Elasticsearch(**options))
    return ElasticsearchSource(client, **arguments)


class ElasticsearchSource:
    """Reads the documents whose `time_field` lies in the window, each exactly once.

    The field is mapped as a date, whose values without an offset are in UTC to Elasticsearch.

    A document is its _source with _id and _index beside its fields. Decimal numbers become what a
    double holds of them.

    A point in time that expires is renewed, and the reading goes on behind the last document: for
    that, `tiebreaker` names a field that every document has, each with a value of its own, and
    that can be sorted by (a keyword or a number). Without one the window is read from its start.

    What fails for a moment (429, 502, 503, 504, a lost connection, an answer that does not come in
    time) is tried again, after as long as the server asks for. `client` is used as it is but for
    its own retries, which do not wait.
    """

    def __init__(
        self,
        client: Elasticsearch,
        index: str,
        *,
        time_field: str = "@timestamp",
        tiebreaker: str | None = None,
        query: Mapping[str, Any] | None = None,
        page_size: int = 2000,
        keep_alive: str = "5m",
        policy: RetryPolicy = POLICY,
    ) -> None:
        self._client = client.options(max_retries=0)
        self._index = index
        self._time_field = time_field
        self._tiebreaker = tiebreaker
        self._query = query
        self._page_size = page_size
        self._keep_alive = keep_alive
        self._policy = policy
        self._is_checked = False

    def check(self, _pipeline_id: str) -> None:
        """Refuses a `time_field` that cannot tell in which window a document is.

        :raises MoveFailed: naming the index, the field, its type and what to do.
        """

        def call() -> Any:
            return self._client.field_caps(index=self._index, fields=self._time_field)

        answer = self._sent("field_caps", call)
        if not answer["indices"]:
            raise self._no_index()
        kinds = answer["fields"].get(self._time_field, {})
        if not kinds:
            raise MoveFailed(
                f"{self._index}: no index has a field {self._time_field}, the time_field: no "
                "document would be in any window",
                hint="Name the field that holds a document's time.",
            )
        for kind, where in kinds.items():
            if kind not in _DATES:
                place = f" in {', '.join(where['indices'])}" if where.get("indices") else ""
                raise MoveFailed(
                    f"{self._index}: the time_field {self._time_field} is of type {kind}{place}; "
                    "it must be date or date_nanos",
                    hint="Name another field, or map it as a date.",
                )
        self._is_checked = True

    def count(self, record: Record) -> int:
        """Returns how many documents of the window can be found now.

        :raises MoveFailed: also when there is no index at all to look in. To Elasticsearch a
            pattern that matches nothing, or nothing that the user may read, holds no documents.
        """

        def call() -> int:
            answer = self._client.count(index=self._index, query=self._filter(record))
            _all_shards(answer)
            if not answer["_shards"]["total"]:
                raise self._no_index()
            return int(answer["count"])

        if not self._is_checked:
            self.check(record["pipeline_id"])
        return self._sent("count", call)

    def read(self, record: Record) -> Iterator[Sequence[bytes]]:
        """Yields the window's documents in pages.

        :raises StartAgain: when a point in time has expired and there is no tiebreaker.
        """
        reading = _Reading(self._open())
        try:
            while True:
                try:
                    hits = self._page(record, reading)
                except _Expired as error:
                    self._renew(reading, error)
                    continue
                if hits:
                    yield [_line(hit) for hit in hits]
                if len(hits) < self._page_size:
                    return
        finally:
            with suppress(ApiError, TransportError):  # it expires by itself
                self._client.close_point_in_time(id=reading.pit_id)

    # ---------------------------------------------------------------- steps
    def _no_index(self) -> MoveFailed:
        return MoveFailed(f"{self._index}: there is no such index, or none that this user may read")

    def _open(self) -> str:
        def call() -> str:
            answer = self._client.open_point_in_time(index=self._index, keep_alive=self._keep_alive)
            return str(answer["id"])

        return self._sent("open_point_in_time", call)

    def _page(self, record: Record, reading: _Reading) -> list[Any]:
        def call() -> Any:
            answer = self._client.search(
                pit={"id": reading.pit_id, "keep_alive": self._keep_alive},
                query=self._filter(record, reading.behind),
                sort=[{self._tiebreaker or "_shard_doc": "asc"}],
                search_after=reading.search_after,
                size=self._page_size,
                track_total_hits=False,
                # Else the documents of a shard that fails are left out, and nobody is told.
                allow_partial_search_results=False,
            )
            _all_shards(answer)
            return answer

        answer = self._sent("search", call)
        hits: list[Any] = answer["hits"]["hits"]
        reading.pit_id = answer.get("pit_id", reading.pit_id)
        if hits:
            reading.search_after = hits[-1]["sort"]
            reading.renewals = 0
            if self._tiebreaker is not None and reading.search_after[0] is None:
                raise MoveFailed(
                    f"{self._index}: document {hits[-1]['_id']} has no {self._tiebreaker}, the "
                    "tiebreaker that every document must have"
                )
        return hits

    def _renew(self, reading: _Reading, error: _Expired) -> None:
        """Opens another point in time, to be read behind the last document of the one before."""
        if self._tiebreaker is None:
            raise StartAgain(f"{self._index}: {error}") from error
        reading.renewals += 1
        if reading.renewals > _RENEWALS_WITHOUT_A_PAGE:
            raise MoveFailed(
                f"{self._index}: the point in time expires before a page is read: {error}",
                hint=f"Its keep_alive is {self._keep_alive}; give it longer, or smaller pages.",
            ) from error
        logs.logger.info(logs.line(event="point_in_time_renewed", index=self._index))
        reading.pit_id = self._open()
        if reading.search_after is not None:
            # The other values that it holds mean something only in the old point in time.
            reading.behind, reading.search_after = reading.search_after[0], None

    def _filter(self, record: Record, behind: Any = None) -> dict[str, Any]:
        window = {
            "gte": record["window_start_time"].isoformat(),
            "lt": record["window_end_time"].isoformat(),
            "format": "strict_date_optional_time",
        }
        filters: list[Any] = [{"range": {self._time_field: window}}]
        if self._query is not None:
            filters.append(self._query)
        if behind is not None:
            filters.append({"range": {self._tiebreaker: {"gt": behind}}})
        return {"bool": {"filter": filters}}

    def _sent(self, name: str, call: Callable[[], Result]) -> Result:
        try:
            return retrying(name, call, _pause_after, self._policy)
        except (ApiError, TransportError) as error:
            if _is_expired(error):
                raise _Expired(str(error)) from error
            raise MoveFailed(f"{self._index}: {name}: {error}") from error
        except _ShardsFailed as error:
            raise MoveFailed(f"{self._index}: {name}: {error}") from error


class _Reading:
    """How far a window is read."""

    def __init__(self, pit_id: str) -> None:
        self.pit_id = pit_id
        self.search_after: list[Any] | None = None
        self.behind: Any = None
        self.renewals = 0


class _Expired(Exception):
    """The point in time is no more."""


class _ShardsFailed(Exception):
    """An answer lacks what some shards hold."""


def _line(hit: Mapping[str, Any]) -> bytes:
    document: dict[str, Any] = hit["_source"]
    # No document can have fields of these two names.
    document["_id"], document["_index"] = hit["_id"], hit["_index"]
    with suppress(TypeError):  # half of a surrogate pair, or a number of more than 64 bits
        line = orjson.dumps(document)
        # It writes null for NaN as well, which the slower one refuses.
        if b"null" not in line:
            return line
    try:
        return document_line(document)
    except ValueError as error:
        raise MoveFailed(f"document {hit['_id']} of {hit['_index']} is no JSON: {error}") from error


def _all_shards(answer: Any) -> None:
    shards = answer["_shards"]
    if shards["failed"] or answer.get("timed_out"):
        raise _ShardsFailed(f"{shards['failed']} of {shards['total']} shards failed")


def _is_expired(error: ApiError | TransportError) -> bool:
    # Where in the answer it stands depends on how many of the shards still had theirs.
    return isinstance(error, ApiError) and "search_context_missing_exception" in str(error.body)


def _pause_after(error: Exception) -> float | None:
    if isinstance(error, _ShardsFailed):
        return 0.0
    if isinstance(error, ApiError):
        if error.meta.status not in _TEMPORARY or _is_expired(error):
            return None
        return retry_after(error.meta.headers.get("retry-after"))
    is_passing = isinstance(error, (NoConnection, ConnectionTimeout))
    return 0.0 if is_passing and not isinstance(error, TlsError) else None
