"""What `airflow providers` is told about this package; imports nothing of Airflow."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "Record ledger"
_PACKAGE = "record_ledger.airflow"


def get_provider_info() -> dict[str, Any]:
    """Returns the provider's metadata, for the entry point group apache_airflow_provider."""
    return {
        "package-name": "record-ledger",
        "name": _INTEGRATION,
        "description": (
            "Passes each scheduled pipeline its next time window: the oldest that is settled, "
            "complete and free. One PostgreSQL ledger knows which."
        ),
        "integrations": [{"integration-name": _INTEGRATION, "tags": ["software"]}],
        "operators": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [
                    f"{_PACKAGE}.operators.passing",
                    f"{_PACKAGE}.operators.ending",
                    f"{_PACKAGE}.operators.bash",
                ],
            }
        ],
        "sensors": [{"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.sensors"]}],
        "hooks": [{"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.hooks"]}],
        "triggers": [
            {"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.triggers"]}
        ],
        # A connection of type postgres serves as well; this one needs no provider of PostgreSQL.
        "connection-types": [
            {
                "connection-type": "record_ledger",
                "hook-class-name": f"{_PACKAGE}.hooks.RecordLedgerHook",
                "hook-name": "Record ledger (PostgreSQL)",
                "ui-field-behaviour": {
                    "relabeling": {"schema": "Database"},
                    "placeholders": {"extra": '{"sslmode": "verify-full"}'},
                },
            }
        ],
        "asset-uris": [{"schemes": ["record-ledger"], "handler": None}],
    }
