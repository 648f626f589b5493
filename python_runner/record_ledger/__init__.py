"""The record ledger: which time window of which pipeline is next, settled, complete and free.

    from record_ledger import store_new_and_pass_valid_record

Everything public is imported from here, and only when first used: `import record_ledger` alone
loads no driver and nothing else that is slow.
"""

# ruff: noqa: I001 - a name that is imported `as` itself is one that is exported

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import (
        adopt_observations as adopt_observations,
        build_complete_pipeline_record as build_complete_pipeline_record,
        complete_record as complete_record,
        download_oldest_pending_record as download_oldest_pending_record,
        extend_lease as extend_lease,
        fail_record as fail_record,
        get_oldest_pending_record as get_oldest_pending_record,
        observe_record as observe_record,
        release_record as release_record,
        store_new_and_pass_valid_record as store_new_and_pass_valid_record,
        upload_record_to_database as upload_record_to_database,
        validate_record_timing as validate_record_timing,
    )
    from .client import RecordLedger as RecordLedger
    from .connection import RetryPolicy as RetryPolicy
    from .drain import Drain as Drain
    from .errors import (
        ClaimCancelled as ClaimCancelled,
        ClaimLost as ClaimLost,
        CountsDisagree as CountsDisagree,
        DeployRefused as DeployRefused,
        IllegalStateChange as IllegalStateChange,
        InvalidArgument as InvalidArgument,
        InvalidConfig as InvalidConfig,
        LedgerError as LedgerError,
        LedgerUnavailable as LedgerUnavailable,
        NotDeployed as NotDeployed,
        PermissionDenied as PermissionDenied,
        UnknownPipeline as UnknownPipeline,
    )
    from .processing import Processing as Processing
    from .results import (
        BatchResult as BatchResult,
        ClaimState as ClaimState,
        Completion as Completion,
        PassResult as PassResult,
    )

    __version__: str

# Each public name and the module that has it. The imports above are the same for type checkers.
_MODULE_OF = {
    "adopt_observations": "api",
    "build_complete_pipeline_record": "api",
    "complete_record": "api",
    "download_oldest_pending_record": "api",
    "extend_lease": "api",
    "fail_record": "api",
    "get_oldest_pending_record": "api",
    "observe_record": "api",
    "release_record": "api",
    "store_new_and_pass_valid_record": "api",
    "upload_record_to_database": "api",
    "validate_record_timing": "api",
    "RecordLedger": "client",
    "RetryPolicy": "connection",
    "Drain": "drain",
    "ClaimCancelled": "errors",
    "ClaimLost": "errors",
    "CountsDisagree": "errors",
    "DeployRefused": "errors",
    "IllegalStateChange": "errors",
    "InvalidArgument": "errors",
    "InvalidConfig": "errors",
    "LedgerError": "errors",
    "LedgerUnavailable": "errors",
    "NotDeployed": "errors",
    "PermissionDenied": "errors",
    "UnknownPipeline": "errors",
    "Processing": "processing",
    "BatchResult": "results",
    "ClaimState": "results",
    "Completion": "results",
    "PassResult": "results",
}

__all__ = sorted([*_MODULE_OF, "__version__"])  # noqa: PLE0605 - derived from the table


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = import_module(".server.sql_files", __name__).package_release()
    elif name in _MODULE_OF:
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
