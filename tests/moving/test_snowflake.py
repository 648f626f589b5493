"""Snowflake as a target, on fakesnow's server: the official connector, and DuckDB behind it.

Runs where fakesnow is installed: `uv run --group snowflake pytest tests/moving/test_snowflake.py`.
"""

from __future__ import annotations

import datetime as dt
import logging
import warnings

import pytest

from record_ledger.errors import ClaimLost, CountsDisagree
from record_ledger.moving import MoveFailed, Published, StagedDataDamaged
from tests.moving.support import in_phase, moved, passed, staged

fakesnow = pytest.importorskip("fakesnow", reason="needs the group snowflake")
from snowflake import connector  # noqa: E402

from record_ledger.moving.connectors.snowflake import target as snowflake  # noqa: E402
from record_ledger.moving.connectors.snowflake.target import SnowflakeTarget  # noqa: E402
from record_ledger.moving.settings import Settings  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")

DOCUMENTS = [{"_id": str(n), "text": 'a "quoted" \\ back☃', "n": n} for n in range(25)]


@pytest.fixture(scope="module")
def server():
    for name in ("snowflake", "sqlglot", "uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fakesnow.server() as options:
            yield options


@pytest.fixture
def connect(server, request):
    options = {**server, "database": "shop", "schema": f"s_{abs(hash(request.node.name))}"}
    return lambda: connector.connect(**options)


@pytest.fixture
def query(connect):
    with connect() as connection:
        yield lambda text: connection.cursor().execute(text).fetchall()


@pytest.fixture
def target(connect):
    return SnowflakeTarget(connect, "orders", poll_seconds=0.01)


def ids(query):
    return sorted(int(one[0]) for one in query("select document:n::int from orders"))


def tables(query):
    return [one[1] for one in query("show tables") if one[1].startswith("LOAD_")]


def test_documents_arrive_as_they_were_staged(target, local_stage, query):
    moved(target, local_stage, passed(), DOCUMENTS)

    assert ids(query) == list(range(25))
    (text,) = query("select document:text::varchar from orders where document:n::int = 7")
    assert text[0] == DOCUMENTS[7]["text"]
    assert tables(query) == []


def test_publishing_replaces_its_window_and_no_other(target, local_stage, query):
    for window in range(2):
        moved(target, local_stage, passed(window + 1, window=window), DOCUMENTS[:2])

    moved(target, local_stage, passed(10, window=1), DOCUMENTS[5:6])
    assert ids(query) == [0, 1, 5]

    manifest = moved(target, local_stage, passed(11, window=1, generation=2), [])
    assert ids(query) == [0, 1]
    assert target.begin(passed(12, window=1)) == Published(2, 11, manifest.digest, 0)


@pytest.mark.parametrize("phase", ["begin", "load", "publish"])
def test_a_claim_that_is_not_the_newest_changes_nothing(target, local_stage, query, phase):
    moved(target, local_stage, passed(1), DOCUMENTS[:3])
    stale = passed(2)
    manifest = staged(local_stage, stale, DOCUMENTS)
    target.begin(stale)
    target.load(stale, manifest, local_stage)

    target.begin(passed(3))

    with pytest.raises(ClaimLost, match="a later claim than 2"):
        in_phase(phase, target, stale, manifest, local_stage)
    assert ids(query) == [0, 1, 2]


def test_repeating_any_phase_changes_nothing(target, local_stage, query):
    record = passed(1)
    manifest = staged(local_stage, record, DOCUMENTS)
    for _ in range(2):
        target.begin(record)
        target.load(record, manifest, local_stage)
        target.load(record, manifest, local_stage)
        target.publish(record, manifest)
        target.publish(record, manifest)
        target.clean(record)

    assert ids(query) == list(range(25))


def test_what_an_earlier_claim_has_loaded_is_taken_over(target, local_stage, query):
    first, second = passed(1), passed(2)
    manifest = staged(local_stage, first, DOCUMENTS)
    target.begin(first)
    target.load(first, manifest, local_stage)
    local_stage.remove("orders/", lambda *_: False)

    target.begin(second)
    assert target.load(second, manifest, local_stage) == 25
    assert target.publish(second, manifest) == 25
    assert ids(query) == list(range(25))


def test_rows_that_are_missing_are_not_published(target, local_stage, query):
    record = passed(1)
    manifest = staged(local_stage, record, DOCUMENTS)
    target.begin(record)
    with pytest.raises(MoveFailed, match="has not loaded the 25 staged rows"):
        target.publish(record, manifest)
    target.load(record, manifest, local_stage)
    (loaded,) = tables(query)
    query(f"delete from {loaded} where document:n::int = 3")

    with pytest.raises(CountsDisagree, match="24 rows, but 25 are staged"):
        target.publish(record, manifest)
    assert ids(query) == []


def test_a_damaged_part_is_not_loaded(target, local_stage):
    record = passed(1)
    manifest = staged(local_stage, record, DOCUMENTS, part_bytes=1)
    local_stage.path_of(manifest.parts[1].name).write_bytes(b"something else")
    target.begin(record)

    with pytest.raises(StagedDataDamaged, match=manifest.parts[1].name):
        target.load(record, manifest, local_stage)


def test_what_snowflake_refuses_is_one_error(connect):
    with pytest.raises(MoveFailed, match=r"table nowhere\.orders"):
        SnowflakeTarget(connect, "nowhere.orders").begin(passed())


@pytest.mark.parametrize("name", ["orders; drop table x", "a.b.c.d", "", "1st", 'a"b'])
def test_a_name_that_is_no_plain_one_is_refused(connect, name):
    with pytest.raises(ValueError, match="plain name"):
        SnowflakeTarget(connect, name)


def test_columns_take_their_values_from_paths(connect, local_stage, query):
    query(
        "create table orders (pipeline_id varchar, window_start_time timestamp_tz, "
        "amount number(10, 2), is_paid boolean, n number)"
    )
    columns = {"amount": "sum.net", "is_paid": "paid", "n": "n"}
    target = SnowflakeTarget(connect, "orders", columns=columns, poll_seconds=0.01)

    moved(target, local_stage, passed(), [{"n": 1, "sum": {"net": 1.5}, "paid": True}, {"n": 2}])

    found = query("select amount::float, is_paid, n from orders order by n")
    assert found == [(1.5, True, 1), (None, None, 2)]


@pytest.fixture
def landing(connect):
    """A target over the external stage @landing, and the COPY statements that it has sent."""
    sent = []

    def listening():
        connection = connect()
        opened = connection.cursor

        def cursor(*arguments):
            made = opened(*arguments)
            execute = made.execute_async
            made.execute_async = lambda text: sent.append(" ".join(text.split())) or execute(text)
            return made

        connection.cursor = cursor
        return connection

    target = SnowflakeTarget(listening, "orders", external_stage="@landing", poll_seconds=0.01)
    return target, sent


def test_a_damaged_part_in_an_external_stage_is_not_loaded(landing, local_stage):
    target, sent = landing
    record = passed(1)
    manifest = staged(local_stage, record, DOCUMENTS, part_bytes=1)
    target.begin(record)

    path = local_stage.path_of(manifest.parts[1].name)
    for damage in (lambda: path.write_bytes(b"something else"), path.unlink):
        damage()
        with pytest.raises(StagedDataDamaged, match=manifest.parts[1].name):
            target.load(record, manifest, local_stage)
    assert sent == []


def test_parts_in_an_external_stage_are_named_to_snowflake(landing, local_stage):
    """By the statement's text: fakesnow reads nothing from such a stage, and says which one."""
    target, sent = landing
    record = passed(1)
    manifest = staged(local_stage, record, DOCUMENTS, part_bytes=1)
    target.begin(record)
    with pytest.raises(MoveFailed, match=r"(?i)landing"):
        target.load(record, manifest, local_stage)

    names = ", ".join(f"'{part.name}'" for part in manifest.parts)
    assert len(manifest.parts) == 3
    (text,) = sent
    assert text.endswith(
        f"from @landing/ files = ({names}) file_format = (type = json) on_error = abort_statement"
    )


@pytest.mark.parametrize(
    ("column", "of_type", "says"),
    [
        ("window_start_time", "timestamp_ntz", "TIMESTAMP_NTZ; it must be TIMESTAMP_TZ"),
        ("window_start_time", "timestamp", "TIMESTAMP_NTZ; it must be TIMESTAMP_TZ"),
        ("window_start_time", "date", "DATE; it must be TIMESTAMP_TZ"),
        ("window_start_time", "varchar", "TEXT; it must be TIMESTAMP_TZ"),
        ("pipeline_id", "number", "NUMBER; it must be varchar"),
    ],
)
@pytest.mark.parametrize("of_table", ["orders", "record_ledger_published"])
def test_a_key_that_cannot_tell_windows_apart_is_refused(
    target, query, column, of_type, says, of_table
):
    columns = {"pipeline_id": "varchar", "window_start_time": "timestamp_tz", "document": "variant"}
    if of_table != "orders":
        del columns["document"]
        numbers = ("claim_token", "generation", "published_by", "row_count")
        columns |= {**dict.fromkeys(numbers, "number"), "digest": "varchar"}
    columns[column] = of_type
    query(f"create table {of_table} ({', '.join(f'{c} {t}' for c, t in columns.items())})")

    for call in (lambda: target.check("orders"), lambda: target.begin(passed())):
        with pytest.raises(MoveFailed, match=f"table {of_table}, column {column}: ") as refused:
            call()
        assert says in refused.value.message


def test_a_name_that_does_not_fit_into_its_column_is_refused(connect, query):
    # fakesnow keeps the length of the first table of a name, whatever its schema is.
    query("create table short (pipeline_id varchar(5), window_start_time timestamp_tz, d variant)")
    target = SnowflakeTarget(connect, "short", columns={"d": "d"})

    with pytest.raises(MoveFailed, match="it holds 5 characters, and 'orders' has 6"):
        target.check("orders")
    target.check("order")


def test_tables_that_fit_or_are_missing_pass_the_check(target, local_stage, query):
    target.check("orders")
    assert query("show tables") == []
    moved(target, local_stage, passed(), DOCUMENTS[:1])
    target.check("orders")


def test_the_windows_of_the_hour_that_comes_twice_are_two(target, local_stage, query):
    start = dt.datetime(2026, 10, 25, 0, tzinfo=dt.timezone.utc)
    for token in (1, 2, 3, 4):
        record = {**passed(token), "window_start_time": start + (token % 2) * dt.timedelta(hours=1)}
        moved(target, local_stage, record, DOCUMENTS[:token])

    assert query("select count(*) from orders") == [(3 + 4,)]


def test_settings_of_the_account_do_not_decide_what_texts_mean():
    settings = Settings(
        {"table": "orders", "connection": {"account": "a", "session_parameters": {"X": "1"}}},
        "target",
    )
    found = snowflake.from_settings(settings, None)._connect.keywords["session_parameters"]

    assert (found["TIMEZONE"], found["TIMESTAMP_INPUT_FORMAT"], found["X"]) == ("UTC", "AUTO", "1")
