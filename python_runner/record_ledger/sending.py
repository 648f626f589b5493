"""What is sent of a config, and of the windows that the ledger asks to have rendered."""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from . import logs
from .config import KNOWN_KEYS, config_to_send, has_templates, pipeline_id_of, to_json
from .errors import InvalidConfig

if TYPE_CHECKING:
    from .templates import RecordTemplates
    from .values import Record

_KNOWN_KEYS = frozenset(KNOWN_KEYS)
_NONE_IGNORED: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SentConfig:
    """A config as JSON text, and what the runner itself needs of it."""

    json: str
    pipeline_id: Any
    timezone: Any
    templates: RecordTemplates | None


def as_sent(config: dict[str, Any], templates: RecordTemplates | None) -> SentConfig:
    """Returns what is sent for a config that `config_to_send` has checked."""
    return SentConfig(to_json(config), pipeline_id_of(config), config.get("timezone"), templates)


def sent_before(config: object, warned_of: set[frozenset[str]]) -> SentConfig | None:
    """Returns what is sent for a config with keys that the ledger has been asked about.

    None when that has to be worked out. Configs whose marshalled bytes are equal are equal in every
    type and value, and in their order: True is not 1 there, as it is to `==`. What can be changed
    is not kept: only bytes are, and nothing of the keys that are not sent.
    """
    if type(config) is not dict:
        return None
    if not config.keys() <= _KNOWN_KEYS:
        ignored = config.keys() - _KNOWN_KEYS
        if ignored not in warned_of:
            return None
        config = {key: value for key, value in config.items() if key not in ignored}
    elif _NONE_IGNORED not in warned_of:
        return None
    try:
        # Version 0 notes nothing but types and values: equal configs have equal bytes.
        return _sent_of_bytes(marshal.dumps(config, 0))
    except (ValueError, InvalidConfig):
        return None  # it holds more than plain values, or is wrong: the whole way says what


@lru_cache(maxsize=64)
def _sent_of_bytes(marshalled: bytes) -> SentConfig:
    config = config_to_send(marshal.loads(marshalled))  # noqa: S302 - of this process
    return as_sent(config, record_templates(config))


def record_templates(config: Mapping[str, Any]) -> RecordTemplates | None:
    """Returns the config's templates, checked, or None when it has none (and needs no jinja2)."""
    default_record = config.get("default_record")
    if not isinstance(default_record, dict) or not has_templates(default_record):
        return None
    from .templates import compiled  # noqa: PLC0415 - jinja2 is slow to import and seldom needed

    return compiled(default_record)


def rendered_windows(
    templates: RecordTemplates, to_build: list[Record]
) -> list[tuple[Record, dict[str, Any]]]:
    """Returns each window that an answer asks to have rendered, with its fields.

    Templates see the local times of the zone that the window was cut with. Without the first window
    nothing can be passed. A later one that fails is left out, so that the windows before it are not
    held up, and is asked for again when it comes first.

    :raises InvalidConfig: when the first one fails, naming every field that did, and the window.
    """
    rendered: list[tuple[Record, dict[str, Any]]] = []
    for window in to_build:
        try:
            fields = templates.render(window, window["timezone"])
        except InvalidConfig as error:
            if not rendered:
                raise
            logs.left_out(window["pipeline_id"], window["window_start_time"], error.message)
            continue
        rendered.append((window, fields))
    return rendered


def built_window(
    window: Mapping[str, Any], config_version: int, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the entry of `built` that stands for one window, rendered with that config."""
    return {
        "window_start_time": window["window_start_time"],
        "window_end_time": window["window_end_time"],
        "config_version": config_version,
        "fields": fields,
    }
