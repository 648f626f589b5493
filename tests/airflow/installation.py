"""A whole Airflow: API server, scheduler with LocalExecutor, DAG processor and triggerer."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import psutil
from psycopg.conninfo import conninfo_to_dict

from tests.airflow.support import lay_out, settings

# Seconds; generous, because the machine may be busy.
START_DEADLINE = 180.0
RUN_DEADLINE = 180.0
STOP_DEADLINE = 3.0
PARTS = (["api-server", "--workers", "1"], ["dag-processor"], ["scheduler"], ["triggerer"])


class Installation:
    """Runs the parts of an Airflow in `home`, on a database of its own, for a `with` block.

    `api(method, path, body)` calls its REST API. At the end, every process that it started is ended
    by its own id.
    """

    def __init__(self, home: Path, dsn: str, more: dict[str, str]) -> None:
        self._home = home
        lay_out(home)
        self.port = _free_port()
        self._environment = {
            **os.environ, **settings(home), **_whole(dsn, self.port), **more,
        }  # fmt: skip
        self._parts: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._token = ""

    def __enter__(self) -> Installation:
        try:
            self._run("db", "migrate")
            for part in PARTS:
                self._start(part)
            self.wait_for(self._answers, START_DEADLINE, "the API server's answer")
            self._token = self.api("GET", "/auth/token")["access_token"]
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends its processes and their children: first by request, then by force."""
        started = [psutil.Process(part.pid) for _, part in self._parts if part.poll() is None]
        children = [child for one in started for child in one.children(recursive=True)]
        for one in started:
            one.terminate()
        _, alive = psutil.wait_procs([*started, *children], STOP_DEADLINE)
        for one in alive:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        for _, part in self._parts:
            part.wait()

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Returns what the REST API answers, as JSON."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self._token}",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read()!r}") from error

    def trigger(self, dag_id: str, **conf: Any) -> str:
        """Starts a run of a DAG, once Airflow knows it, and returns the run's id."""

        def known() -> Any:
            found = self.api("GET", "/api/v2/dags?limit=100")["dags"]
            return dag_id in {dag["dag_id"] for dag in found}

        self.wait_for(known, START_DEADLINE, f"the DAG {dag_id}")
        body = {"logical_date": None, "conf": conf}
        return str(self.api("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def state(self, dag_id: str, run_id: str) -> str:
        """Returns the state of a run."""
        return str(self.api("GET", f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> dict[str, str]:
        """Returns the states of a run's tasks."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances"
        return {ti["task_id"]: ti["state"] for ti in self.api("GET", path)["task_instances"]}

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Returns what a task has returned."""
        path = (
            f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}"
            "/xcomEntries/return_value?deserialize=false"
        )
        return self.api("GET", path)["value"]

    def wait_for_end(self, dag_id: str, run_id: str) -> str:
        """Returns the state in which a run has ended."""
        self.wait_for(
            lambda: self.state(dag_id, run_id) in ("success", "failed"),
            RUN_DEADLINE,
            f"the end of run {run_id} of {dag_id}",
        )
        return self.state(dag_id, run_id)

    def wait_for(self, condition: Callable[[], Any], deadline: float, what: str) -> None:
        """Returns once the condition holds.

        :raises AssertionError: when a part has ended, or the deadline is over; with their logs.
        """
        until = time.monotonic() + deadline
        while not condition():
            ended = [name for name, part in self._parts if part.poll() is not None]
            if ended or time.monotonic() > until:
                logs = "\n".join(self._log(name) for name, _ in self._parts)
                raise AssertionError(f"waiting for {what}; ended: {ended}\n{logs}")
            time.sleep(0.1)

    def _log(self, name: str) -> str:
        text = (self._home / f"{name}.log").read_text(errors="replace")
        return f"==== {name}\n" + "\n".join(text.splitlines()[-40:])

    def _answers(self) -> bool:
        try:
            self.api("GET", "/api/v2/version")
        except (OSError, AssertionError):
            return False
        return True

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "airflow", *arguments]

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            self._command(*arguments), env=self._environment, cwd=self._home,
            capture_output=True, text=True, check=False, timeout=START_DEADLINE,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def _start(self, part: list[str]) -> None:
        port = ["--port", str(self.port)] if part[0] == "api-server" else []
        with (self._home / f"{part[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                self._command(*part, *port), env=self._environment, cwd=self._home,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._parts.append((part[0], process))


def _whole(dsn: str, port: int) -> dict[str, str]:
    """Returns the settings beyond those of a home in which DAGs are only tested."""
    parts = conninfo_to_dict(dsn)
    where = (
        f"{parts['user']}@/{parts['dbname']}?host={quote(str(parts['host']))}&port={parts['port']}"
    )
    return {
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        # How soon a task notices that it was killed from outside.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "1",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg://{where}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+psycopg_async://{where}",
    }


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
