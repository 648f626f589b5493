"""Warns of a field that two windows share only because clocks show the same start for both.

When clocks are set back an hour comes twice, and after a change of zone a few may: a template over
local times without an offset, such as a file's name, then renders the same text for two windows.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from . import logs
from .errors import InvalidConfig
from .values import local_time, names_one_instant, other_pass, parsed_time, zoned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pendulum

    from .templates import RecordTemplates
    from .values import Record

    # Of a pipeline, the record of the window that starts then: `RecordLedger.pipeline_records`.
    StoredRecords = Callable[[str, pendulum.DateTime], list[Record]]

_WALL_CLOCK = len("2026-10-25T02:00:00")
_warned_of: set[str] = set()


def warn_of_twins(
    stored_records: StoredRecords,
    templates: RecordTemplates,
    windows: Sequence[Mapping[str, Any]],
    fields: Sequence[Mapping[str, Any]],
) -> None:
    """Logs a warning, once per process and pipeline, for what was rendered of `windows`.

    Two windows are compared when both are in this call, or when the earlier one is stored: that is
    looked up in the hours that come twice, and in no others.
    """
    pipeline_id = windows[0]["pipeline_id"]
    if pipeline_id in _warned_of:
        return
    for window, rendered, start, its in _twins(stored_records, windows, fields):
        for name in templates.rendered_fields:
            if rendered[name] == its.get(name) and _tells_windows_apart(
                templates, window, start, name, rendered[name]
            ):
                _warned_of.add(pipeline_id)
                logs.rendered_twice(
                    pipeline_id, name, rendered[name], start, window["window_start_time"]
                )
                return


def _twins(
    stored_records: StoredRecords,
    windows: Sequence[Mapping[str, Any]],
    fields: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], pendulum.DateTime, Mapping[str, Any]]]:
    """Yields windows with their fields, and the start and fields of an earlier one alike."""
    by_clock: dict[str, int] = {}
    for number, window in enumerate(windows):
        clock = window["window_start_time"][:_WALL_CLOCK]
        earlier = by_clock.setdefault(clock, number)
        start = local_time(window["window_start_time"], window["timezone"])
        if earlier != number:
            twin = windows[earlier]
            before = local_time(twin["window_start_time"], twin["timezone"])
            yield window, fields[number], before, fields[earlier]
        elif not names_one_instant(start):
            first = other_pass(start, window["timezone"])
            stored = (
                stored_records(window["pipeline_id"], first)
                if first is not None and first < start
                else []
            )
            if first is not None and stored:
                yield window, fields[number], first, stored[0]["fields"]


def _tells_windows_apart(
    templates: RecordTemplates,
    window: Mapping[str, Any],
    twin: pendulum.DateTime,
    field: str,
    value: object,
) -> bool:
    """Tells whether a field differs from window to window of a day, as a day's folder does not.

    By what it would be for the window after both, or before both, on the same day.
    """
    zone = window["timezone"]
    start, end = (parsed_time(window[name]) for name in ("window_start_time", "window_end_time"))
    length = end - start
    for instant in (end, dt.datetime.fromisoformat(twin.isoformat()) - length):
        moved, until = zoned(instant, zone), zoned(instant + length, zone)
        if moved is None or until is None or moved.date() != start.date():
            continue
        neighbour = {**window, "window_start_time": moved, "window_end_time": until}
        try:
            return bool(templates.render(neighbour, zone)[field] != value)
        except InvalidConfig:
            return False
    return False
