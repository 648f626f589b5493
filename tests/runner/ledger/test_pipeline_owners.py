"""A pipeline that belongs to a role, from Python and the shell: the server decides and says why."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from record_ledger import InvalidArgument, PermissionDenied, RecordLedger, UnknownPipeline


@pytest.fixture
def users(ledger, ledger_dsn, runner, config):
    """A pipeline of a team, a member of it, and a runner of another team; gone at the end."""
    runner.register_pipeline(config("orders"))
    name = psycopg.conninfo.conninfo_to_dict(ledger_dsn)["dbname"]
    roles = {role: f"{role} of {name}" for role in ("team", "member", "stranger")}
    for role in roles.values():
        ledger.execute(f'create role "{role}" login')
        ledger.execute(f'grant record_ledger_runner to "{role}"')
    ledger.execute(f'grant "{roles["team"]}" to "{roles["member"]}"')
    yield roles
    for role in roles.values():
        ledger.execute(f'drop owned by "{role}"')
        ledger.execute(f'drop role "{role}"')


@pytest.fixture
def as_user(ledger_dsn, users):
    opened = []

    def connect(name):
        opened.append(RecordLedger(make_conninfo(ledger_dsn, user=users[name])))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


def test_a_method_gives_a_pipeline_to_a_role_and_back(runner, users):
    assert runner.set_pipeline_owner("orders", users["team"]) is True
    assert runner.set_pipeline_owner("orders", users["team"]) is False
    assert runner.pipelines("orders")[0]["owner_role"] == users["team"]
    assert runner.set_pipeline_owner("orders", None) is True
    assert runner.pipelines("orders")[0]["owner_role"] is None


def test_who_is_not_of_the_team_is_refused_with_the_servers_hint(runner, users, as_user, config):
    runner.set_pipeline_owner("orders", users["team"])
    stranger = as_user("stranger")
    for call in (
        lambda: stranger.store_new_and_pass_valid_record(config("orders"), "theirs"),
        lambda: stranger.pause_pipeline("orders", "why"),
        lambda: stranger.set_pipeline_owner("orders", None),
    ):
        with pytest.raises(PermissionDenied, match="is not a member of it") as caught:
            call()
        assert caught.value.sqlstate == "42501"
        # How to become one; that of a user without any role would lead astray.
        assert f'grant "{users["team"]}" to "{users["stranger"]}"' in caught.value.hint
        assert "record_ledger_runner" not in caught.value.hint
    as_user("member").pause_pipeline("orders", "why")


def test_what_cannot_own_a_pipeline_is_refused(runner, users):
    for role in ("no such role", "", "x" * 1_000_000):
        with pytest.raises(InvalidArgument, match="is not a role of this server") as caught:
            runner.set_pipeline_owner("orders", role)
        assert len(str(caught.value)) < 500
    with pytest.raises(UnknownPipeline):
        runner.set_pipeline_owner("ordrs", users["team"])
    for role in ("\x00", "\ud800"):
        with pytest.raises(InvalidArgument):
            runner.set_pipeline_owner("orders", role)


def test_the_command_shows_whose_it_was_and_is(command, users):
    given = command("set-owner", "orders", users["team"])
    header, row, last = given.out.splitlines()
    assert header.split("  ")[0] == "PIPELINE"
    assert row.split(maxsplit=1)[1] == f"(any runner)  {users['team']}"
    assert given.json == {
        "operation": "set-owner", "pipeline_id": "orders", "was": None, "is": users["team"],
    }  # fmt: skip
    assert last == given.out.splitlines()[-1]
    taken = command("set-owner", "orders", "--none", "--json")
    assert taken.out.count("\n") == 1
    assert (taken.json["was"], taken.json["is"]) == (users["team"], None)


@pytest.mark.parametrize("more", [(), ("a_role", "--none")], ids=["neither", "both"])
def test_the_command_asks_for_a_role_or_none(command, users, more):
    assert command("set-owner", "orders", *more).code == 2


def test_what_the_command_may_not_do_is_one_message(command, users, monkeypatch, ledger_dsn):
    assert command("set-owner", "orders", users["team"]).code == 0
    monkeypatch.setenv("RECORD_LEDGER_DSN", make_conninfo(ledger_dsn, user=users["stranger"]))

    for arguments in (("orders", users["stranger"]), ("orders", "--none")):
        done = command("set-owner", *arguments)
        assert (done.code, done.out) == (1, "")
        assert "permission denied: pipeline" in done.err
        assert f'grant "{users["team"]}" to "{users["stranger"]}"' in done.err
    unknown = command("set-owner", "ordrs", users["team"])
    assert 'Did you mean "orders"' in unknown.err
