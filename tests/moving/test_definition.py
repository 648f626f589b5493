"""A pipeline definition: one file, every problem at once, and components of one's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from record_ledger import InvalidConfig, LedgerError, RecordLedger
from record_ledger.moving import PipelineDefinition
from record_ledger.moving.connectors.local import LocalStage


def definition(**tables):
    return {
        "timezone": "America/Los_Angeles",
        "source": {"kind": "postgres", "table": "sales", "time_column": "sold_at"},
        "stage": {"kind": "local", "folder": "staged"},
        "target": {"kind": "postgres", "table": "sold"},
        **tables,
    }


@pytest.fixture
def ledger():
    # Nothing is connected to before a window is moved.
    with RecordLedger("host=/nowhere") as unopened:
        yield unopened


def test_the_ledger_gets_its_config_and_the_counts_that_must_agree():
    assert PipelineDefinition(definition()).config == {
        "timezone": "America/Los_Angeles",
        "required_counts": ["source", "stage", "target"],
    }
    own = {"stages": ["source", "target"], "tolerance": "1%"}
    assert PipelineDefinition(definition(required_counts=own)).config["required_counts"] == own


def test_a_definition_makes_a_move_and_connects_to_nothing(ledger):
    PipelineDefinition(definition()).move(ledger)


def test_everything_that_is_wrong_is_said_at_once(ledger, monkeypatch):
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    wrong = definition(
        source={"kind": "postgres", "tabel": "sales", "time_column": 3},
        stage={"kind": "locale", "part_mib": 0, "compression": 10, "keep_days": True},
        target={"kind": "postgres", "table": "sold", "dsn": "password=${NO_SUCH_SECRET}"},
    )

    with pytest.raises(InvalidConfig) as refused:
        PipelineDefinition(wrong).move(ledger)

    for problem in (
        "source.time_column: 3 is not valid; it must be a text",
        "source.table: is missing; it must be a text",
        "source.tabel: the key is not known; known are dsn, kind, table, time_column, time_zone",
        "stage.part_mib: 0 is not valid; it must be a whole number from 1 on",
        "stage.compression: 10 is not valid; it must be a whole number from 1 to 9",
        "stage.keep_days: True is not valid; it must be a whole number",
        "stage.kind: 'locale' is not valid; it must be one of local, s3",
        "target.dsn: the environment variable NO_SUCH_SECRET is not set",
    ):
        assert problem in refused.value.message


@pytest.mark.parametrize("table", ["source", "stage", "target"])
@pytest.mark.parametrize("value", [None, "postgres", {}])
def test_a_table_that_is_missing_or_none_is_said(ledger, table, value):
    with pytest.raises(InvalidConfig, match=rf"{table}(\.kind)?: "):
        PipelineDefinition(definition(**{table: value})).move(ledger)


def test_a_misspelt_table_is_asked_about(ledger):
    wrong = definition()
    wrong["sorce"] = wrong.pop("source")
    wrong["Target"] = wrong.pop("target")
    del wrong["stage"]

    with pytest.raises(InvalidConfig) as refused:
        PipelineDefinition(wrong).move(ledger)

    assert refused.value.message == (
        "invalid config: 3 problems\n"
        "  - source: is missing; it must be a table; is 'sorce' meant to be it?\n"
        "  - stage: is missing; it must be a table\n"
        "  - target: is missing; it must be a table; is 'Target' meant to be it?"
    )


@pytest.mark.parametrize("value", [None, [], "file.toml"])
def test_what_is_no_definition_is_refused(value):
    with pytest.raises(InvalidConfig, match="must be a dict"):
        PipelineDefinition(value)


def test_passwords_come_from_the_environment(ledger, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    table = {
        "kind": "elasticsearch",
        "index": "sales",
        "client": {"hosts": ["http://127.0.0.1:9"], "basic_auth": ["user", "${SECRET}"]},
    }

    move = PipelineDefinition(definition(source=table)).move(ledger)

    headers = move._source._client._headers
    assert headers["authorization"].startswith("Basic ")


def test_what_a_client_does_not_take_is_said(ledger):
    table = {"kind": "elasticsearch", "index": "sales", "client": {"hots": "x"}}

    with pytest.raises(InvalidConfig, match=r"source\.client: .*hots"):
        PipelineDefinition(definition(source=table)).move(ledger)


def test_a_factory_of_ones_own_that_forgets_to_check_lets_nothing_wrong_through(
    ledger, tmp_path, monkeypatch
):
    info = tmp_path / "careless-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: careless\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[record_ledger.stages]\ncareless = careless:made\n")
    (tmp_path / "careless.py").write_text("def made(settings, ledger):\n    return None\n")
    monkeypatch.syspath_prepend(tmp_path)

    stage = {"kind": "careless", "part_mib": "x", "colour": "red"}
    with pytest.raises(InvalidConfig) as refused:
        PipelineDefinition(definition(stage=stage)).move(ledger)

    assert "stage.part_mib: 'x' is not valid" in refused.value.message
    assert "stage.colour: the key is not known" in refused.value.message


def test_a_component_of_ones_own_is_an_entry_point(ledger, tmp_path, monkeypatch):
    info = tmp_path / "mine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[record_ledger.stages]\nmine = my_stage:made\n")
    (tmp_path / "my_stage.py").write_text(
        "from record_ledger.moving.connectors.local import LocalStage\n"
        "def made(settings, ledger):\n"
        "    colour = settings.text('colour')\n"
        "    settings.check()\n"
        "    return LocalStage(colour)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    move = PipelineDefinition(definition(stage={"kind": "mine", "colour": "red"})).move(ledger)

    assert isinstance(move._stage, LocalStage)


def test_a_driver_that_is_missing_names_what_to_install(ledger, monkeypatch):
    for name in ("snowflake", "snowflake.connector"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(
        sys.modules, "record_ledger.moving.connectors.snowflake.target", raising=False
    )
    table = {"kind": "snowflake", "table": "sold", "connection": {}}

    with pytest.raises(LedgerError, match=r"install record-ledger\[snowflake\]"):
        PipelineDefinition(definition(target=table)).move(ledger)


def test_importing_it_loads_no_driver():
    script = (
        "import sys, record_ledger.moving, record_ledger.cli.commands.pipeline\n"
        "print([n for n in ('elasticsearch', 'boto3', 'snowflake') if n in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    assert said.strip() == "[]"
