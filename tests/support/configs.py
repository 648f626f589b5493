"""Configs for tests: the handoff's example, with a test's changes."""

from __future__ import annotations

from typing import Any

PIPELINE = "your_pipeline"


def make_config(
    pipeline_id: str = PIPELINE, *, fields: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """Returns a valid config: Los Angeles, stable after a day, windows of two hours.

    `fields` join its default_record; `changes` replace its keys, and `...` takes a key away:
    `make_config("orders", fields={"key_x": ""}, check_fields=["key_x"], timezone=...)`.
    """
    config: dict[str, Any] = {
        "timezone": "America/Los_Angeles",
        "x_time_back": "1d",
        "granularity": "2h",
        "default_record": {
            "source_name": "elasticsearch",
            "target_name": "snowflake",
            "pipeline_id": pipeline_id,
            **(fields or {}),
        },
        **changes,
    }
    return {key: value for key, value in config.items() if value is not ...}
