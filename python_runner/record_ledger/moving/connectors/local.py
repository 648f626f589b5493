"""A folder as a stage: for one machine, or a file system that all workers share."""

from __future__ import annotations

import hashlib
import os
import re
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from record_ledger.moving.errors import READ_AGAIN, MoveFailed, StagedDataDamaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from record_ledger.client import RecordLedger
    from record_ledger.moving.settings import Settings

_UNFINISHED = ".unfinished"
_CHUNK = 1 << 20
# What file systems keep of a name, and what a file's name grows by while it is written.
_NAME_BYTES = 255
_GROWTH = len(_UNFINISHED) + 9
# No name of ours has it: one that is shortened is never another's.
_SHORTENED = "="
_MODE = re.compile(r"0?[0-7]{3}")
_PRIVATE, _PRIVATE_FOLDER, _READABLE = 0o600, 0o700, 0o444


def from_settings(settings: Settings, _ledger: RecordLedger) -> LocalStage:
    """Returns the stage that a definition's table names: `folder`, and the `mode` of its files."""
    folder, mode = settings.text("folder"), settings.text("mode", "0600")
    if not _MODE.fullmatch(mode):
        settings.problem(
            "mode", f"{mode!r} is not valid; it must be the octal mode of a file, such as '0640'"
        )
    settings.check()
    return LocalStage(folder, int(mode, 8))


class LocalStage:
    """Keeps staged files in a folder; a committed one is whole and on the disk.

    Where a part of a file's name is longer than file systems allow, a digest stands for its end.

    `mode` is that of its files, whatever the umask; a folder that it makes may be entered by those
    who may read its files. A name that leads out of the folder is refused.
    """

    def __init__(self, folder: str | Path, mode: int = 0o600) -> None:
        self._folder = Path(folder)
        self._mode = mode

    def check(self, name: str) -> None:
        """Refuses a folder that cannot keep a file of this name.

        :raises MoveFailed: naming the folder and what is wrong with it.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            longest = os.pathconf(self._folder, "PC_NAME_MAX") if os.name == "posix" else 0
            is_writable = os.access(self._folder, os.W_OK | os.X_OK)
        except FileExistsError:
            raise MoveFailed(f"stage folder {self._folder}: Not a directory") from None
        except OSError as error:
            raise MoveFailed(f"stage folder {self._folder}: {error.strerror}") from error
        if not is_writable:
            raise MoveFailed(f"stage folder {self._folder}: it cannot be written to")
        *folders, file = self._path(name).relative_to(self._folder).parts
        needed = max(len(file) + _GROWTH, *map(len, folders))
        if 0 < longest < needed:
            raise MoveFailed(
                f"stage folder {self._folder}: its file system keeps names of {longest} bytes, and "
                f"{needed} are needed",
                hint="Choose a folder on another file system, or a shorter pipeline_id.",
            )

    def create(self, name: str) -> _LocalFile:
        """Begins a file beside where it will be; its rename is what others see."""
        return _LocalFile(self._path(name), self._mode)

    def write_once(self, name: str, data: bytes) -> bool:
        """Stores a small file unless there is one of that name; of two at once, one does."""
        file = self.create(name)
        file.write(data)
        return file.commit_once()

    def open(self, name: str) -> BinaryIO:
        """Opens a file for reading."""
        return self._path(name).open("rb")

    def checksum(self, name: str) -> str | None:
        """Returns the SHA-256 of a file as it is now."""
        try:
            with self.open(name) as file:
                return _sha256(file)
        except FileNotFoundError:
            return None

    def remove(self, folder: str, unless: Callable[[str, float], bool]) -> int:
        """Removes files below a folder, and the folders that become empty."""
        removed, now = 0, time.time()
        top = self._path(folder)
        for place, _, files in os.walk(top, topdown=False):
            for file in files:
                path = Path(place) / file
                # The folder as it was given: on the disk it may be shortened.
                name = f"{folder.rstrip('/')}/{path.relative_to(top).as_posix()}"
                with suppress(FileNotFoundError):  # somebody else cleans too
                    age = now - path.stat().st_mtime
                    if not unless(name, age):
                        path.unlink()
                        removed += 1
            with suppress(OSError):  # not empty, or gone
                Path(place).rmdir()
        return removed

    def path_of(self, name: str) -> Path:
        """Returns where a file lies, for targets that read it by themselves."""
        return self._path(name).absolute()

    def _path(self, name: str) -> Path:
        """Returns where a name lies.

        :raises MoveFailed: when that is not below the stage's folder, or by a link outside of it.
        """
        *folders, file = name.rstrip("/").split("/")
        is_file = not name.endswith("/")
        path = self._folder.joinpath(
            *(_kept(one, _NAME_BYTES) for one in folders),
            _kept(file, _NAME_BYTES - _GROWTH if is_file else _NAME_BYTES),
        )
        parts = PurePosixPath(name).parts
        inside = bool(parts) and ".." not in parts and not PurePosixPath(name).is_absolute()
        if not (inside and path.resolve().is_relative_to(self._folder.resolve())):
            raise MoveFailed(
                f"{name!r} is not the name of a staged file: it leads out of the stage"
            )
        return path


class _LocalFile:
    """A file that is being written."""

    def __init__(self, path: Path, mode: int) -> None:
        self._path = path
        self._unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{_UNFINISHED}")
        self._sha256 = hashlib.sha256()
        self._file = _open_new(self._unfinished, mode)

    def write(self, data: bytes) -> None:
        """Adds bytes."""
        self._sha256.update(data)
        self._file.write(data)

    def commit(self) -> str:
        """Makes the file visible; after a power cut it is there whole or not at all.

        :raises StagedDataDamaged: when a later claim has removed what was written.
        """
        self._to_disk()
        with self._still_there():
            self._unfinished.replace(self._path)
            _sync_folder(self._path.parent)
        return f"sha256:{self._sha256.hexdigest()}"

    def commit_once(self) -> bool:
        """Makes the file visible unless there is one of its name already.

        :raises StagedDataDamaged: when a later claim has removed what was written.
        """
        self._to_disk()
        with self._still_there():
            try:
                os.link(self._unfinished, self._path)
            except FileExistsError:
                return False
            finally:
                self._unfinished.unlink(missing_ok=True)
            _sync_folder(self._path.parent)
            return True

    def abort(self) -> None:
        """Leaves nothing of it."""
        self._file.close()
        with suppress(FileNotFoundError):
            self._unfinished.unlink()

    @contextmanager
    def _still_there(self) -> Iterator[None]:
        """Reports a file that was removed while it was written, as that of a claim that is lost."""
        try:
            yield
        except FileNotFoundError:
            raise StagedDataDamaged(
                f"{self._path} was removed while it was written: a later claim has begun",
                hint=READ_AGAIN,
            ) from None

    def _to_disk(self) -> None:
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())


def _kept(part: str, longest: int) -> str:
    """Returns a part of a name as the file system keeps it; what fits is kept as it is."""
    data = part.encode("utf-8", "surrogateescape")
    if len(data) <= longest:
        return part
    digest = hashlib.sha256(data).hexdigest()
    start = data[: longest - len(digest) - len(_SHORTENED)].decode("utf-8", "ignore")
    return f"{start}{_SHORTENED}{digest}"


def _open_new(path: Path, mode: int) -> BinaryIO:
    while True:
        _make_folders(path.parent, mode)
        # Another worker that cleans up may take the folder away while it is still empty.
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
            os.fchmod(descriptor, mode)
            return os.fdopen(descriptor, "wb")


def _make_folders(folder: Path, mode: int) -> None:
    """Makes a folder and those around it; each that is made lets in those who may read files."""
    if folder.is_dir():
        return
    _make_folders(folder.parent, mode)
    with suppress(FileExistsError, FileNotFoundError):  # the caller tries again
        folder.mkdir(_PRIVATE_FOLDER)
        folder.chmod(mode | (mode & _READABLE) >> 2 | _PRIVATE_FOLDER)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(file: Any) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"
