"""Documents as lines of JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def document_line(document: Mapping[str, Any]) -> bytes:
    r"""Returns a document as the line of JSON that is staged, without a line feed.

    Half of a surrogate pair, which UTF-8 cannot carry, stays the `\ud83d` that it was.

    :raises ValueError: when it holds NaN or an infinity.
    :raises TypeError: when it holds what JSON does not know.
    """
    try:
        return _encode(document).encode("utf-8")
    except UnicodeEncodeError:
        return _encode_ascii(document).encode("ascii")
