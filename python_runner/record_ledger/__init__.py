"""The record ledger: which time window of which pipeline is next, settled, complete and free.

    from record_ledger import store_new_and_pass_valid_record

Everything public is imported from here, and only when first used: `import record_ledger` alone
loads no driver and nothing else that is slow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .claims import (
        adopt_observations,
        complete_record,
        extend_lease,
        fail_record,
        observe_record,
        release_record,
    )
    from .connection import RetryPolicy
    from .drain import Drain
    from .errors import (
        ClaimCancelled,
        ClaimLost,
        CountsDisagree,
        DeployRefused,
        IllegalStateChange,
        InvalidArgument,
        InvalidConfig,
        LedgerError,
        LedgerUnavailable,
        NotDeployed,
        PermissionDenied,
        UnknownPipeline,
    )
    from .handoff import (
        build_complete_pipeline_record,
        download_oldest_pending_record,
        get_oldest_pending_record,
        store_new_and_pass_valid_record,
        upload_record_to_database,
        validate_record_timing,
    )
    from .ledger import RecordLedger
    from .processing import Processing
    from .results import BatchResult, ClaimState, Completion, PassResult

    __version__: str

__all__ = [
    "BatchResult",
    "ClaimCancelled",
    "ClaimLost",
    "ClaimState",
    "Completion",
    "CountsDisagree",
    "DeployRefused",
    "Drain",
    "IllegalStateChange",
    "InvalidArgument",
    "InvalidConfig",
    "LedgerError",
    "LedgerUnavailable",
    "NotDeployed",
    "PassResult",
    "PermissionDenied",
    "Processing",
    "RecordLedger",
    "RetryPolicy",
    "UnknownPipeline",
    "__version__",
    "adopt_observations",
    "build_complete_pipeline_record",
    "complete_record",
    "download_oldest_pending_record",
    "extend_lease",
    "fail_record",
    "get_oldest_pending_record",
    "observe_record",
    "release_record",
    "store_new_and_pass_valid_record",
    "upload_record_to_database",
    "validate_record_timing",
]

_MODULES = {
    "claims": (
        "adopt_observations",
        "complete_record",
        "extend_lease",
        "fail_record",
        "observe_record",
        "release_record",
    ),
    "connection": ("RetryPolicy",),
    "drain": ("Drain",),
    "errors": (
        "ClaimCancelled",
        "ClaimLost",
        "CountsDisagree",
        "DeployRefused",
        "IllegalStateChange",
        "InvalidArgument",
        "InvalidConfig",
        "LedgerError",
        "LedgerUnavailable",
        "NotDeployed",
        "PermissionDenied",
        "UnknownPipeline",
    ),
    "handoff": (
        "build_complete_pipeline_record",
        "download_oldest_pending_record",
        "get_oldest_pending_record",
        "store_new_and_pass_valid_record",
        "upload_record_to_database",
        "validate_record_timing",
    ),
    "ledger": ("RecordLedger",),
    "processing": ("Processing",),
    "results": ("BatchResult", "ClaimState", "Completion", "PassResult"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = import_module(".sql_files", __name__).package_release()
    elif name in _MODULE_OF:
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
