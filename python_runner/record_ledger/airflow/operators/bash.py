"""A BashOperator whose command finds the ledger, and whose fields hold no password."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

try:
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:  # Airflow 2 without the provider of standard operators
    from airflow.operators.bash import BashOperator

from record_ledger.airflow.hooks import DEFAULT_CONN_ID, RecordLedgerHook

if TYPE_CHECKING:
    from collections.abc import Sequence


class RecordLedgerBashOperator(BashOperator):
    """Runs a shell command that finds the ledger of an Airflow connection: `record-ledger run` ...

    The command's environment has the connection as RECORD_LEDGER_DSN. It is put there when the task
    runs, so neither the fields that Airflow renders, stores and shows, nor the task's log, nor its
    XComs hold the password, unless the command itself prints it. All else is as in BashOperator:
    the task is skipped on exit code 99, which `record-ledger run` and `exec` end with when there is
    nothing to do.

    :param bash_command: the command or script (template field)
    :param env: variables of the command, in place of the worker's (template field); with
        `append_env=True` beside them. Put no secret in here: Airflow shows it rendered.
    :param cwd: the folder to run it in (template field)
    :param conn_id: the Airflow connection of the ledger's database (template field); with None the
        command finds the ledger as anywhere, by RECORD_LEDGER_DSN and libpq's PG* variables
    """

    template_fields: Sequence[str] = ("bash_command", "env", "cwd", "conn_id")

    def __init__(
        self,
        *,
        bash_command: str,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        conn_id: str | None = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(bash_command=bash_command, env=env, cwd=cwd, **kwargs)
        self.conn_id = conn_id

    def get_env(self, context: Mapping[str, Any]) -> dict[str, str]:
        """Returns the command's environment, with the connection of the ledger.

        :raises AirflowFailException: when the connection is missing or cannot be meant.
        """
        from record_ledger.connection import DSN_VARIABLE  # noqa: PLC0415 - keeps the driver out

        environment = super().get_env(context)
        conninfo = RecordLedgerHook(self.conn_id).conninfo()
        if conninfo is None:
            return dict(environment)
        # A new one: what BashOperator returns may be `env` itself, a field that Airflow shows.
        return {**environment, DSN_VARIABLE: conninfo}
