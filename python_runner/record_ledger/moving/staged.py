"""Whether the parts of a manifest are still in the stage, as they were staged."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .errors import READ_AGAIN, StagedDataDamaged

if TYPE_CHECKING:
    from collections.abc import Generator

    from .manifest import Part
    from .protocols import Stage

_CHUNK = 1 << 18


def check_staged(part: Part, stage: Stage) -> None:
    """Refuses a part that is not in the stage any more as it was staged, without reading it.

    :raises StagedDataDamaged: when it is gone, or has another checksum.
    """
    found = stage.checksum(part.name)
    if found is None:
        raise _gone(part)
    if found != part.checksum:
        raise StagedDataDamaged(
            f"{part.name} was staged with checksum {part.checksum}, and has {found} now",
            hint=READ_AGAIN,
        )


def checked_chunks(part: Part, stage: Stage) -> Generator[bytes, None, None]:
    """Yields the bytes of a part; they are checked only when the caller has read to the end.

    :raises StagedDataDamaged: when the part is gone, or at its end, when its bytes are others.
    """
    digest = hashlib.sha256()
    try:
        with stage.open(part.name) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                yield chunk
    except FileNotFoundError:
        raise _gone(part) from None
    if digest.hexdigest() != part.sha256:
        raise StagedDataDamaged(
            f"{part.name} was staged with SHA-256 {part.sha256}, and has {digest.hexdigest()} now",
            hint=READ_AGAIN,
        )


def _gone(part: Part) -> StagedDataDamaged:
    return StagedDataDamaged(
        f"{part.name} is in the manifest, but not in the stage", hint=READ_AGAIN
    )
