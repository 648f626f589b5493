"""What the model of the ledger's rules (model.py) is about: a config and a record."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any


@dataclass
class Config:
    """What the rules need of a config."""

    fields: dict[str, Any]
    offset: timedelta = timedelta(0)
    granularity: timedelta = timedelta(hours=1)
    x_time_back: timedelta = timedelta(0)
    check_fields: tuple[str, ...] = ()
    max_active: int | None = None
    depends_on_past: bool = False
    lease: timedelta = timedelta(hours=1)
    max_attempts: int = 3
    retry_delay: timedelta = timedelta(minutes=5)
    backfill_share: Decimal = Decimal(0)
    source_retention: timedelta | None = None
    at_risk_within: timedelta = timedelta(0)

    @property
    def has_templates(self) -> bool:
        return any("{{" in str(value) for value in self.fields.values())


@dataclass
class Record:
    start: datetime
    end: datetime
    fields: dict[str, Any] = field(default_factory=dict)
    built_with: int | None = None
    status: str = "PENDING"
    generation: int = 1
    attempt: int = 0
    run: str | None = None
    token: int | None = None
    lease_until: datetime | None = None
    retry_at: datetime | None = None
    is_historical: bool = False
    # By an operator; until its claim ends.
    is_cancelled: bool = False
    # It was given back until retry_at.
    is_postponed: bool = False
