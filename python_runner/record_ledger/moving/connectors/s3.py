"""S3, or anything that speaks its protocol, as a stage."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from record_ledger.connection import RetryPolicy
from record_ledger.moving.errors import READ_AGAIN, MoveFailed, StagedDataDamaged

from .retrying import retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from record_ledger.client import RecordLedger
    from record_ledger.moving.settings import Settings

# What is held in memory of a file that is written, and one part of its upload. S3 takes 10,000
# of them at most: 80 GiB.
CHUNK = 8 * 1024 * 1024
_KEY_BYTES = 1024
_MISSING = ("404", "NoSuchKey", "NotFound")
_MANY = 1000
_CONFLICTS = RetryPolicy(tries=5, within=30.0, first_wait=0.1, longest_wait=2.0)


def from_settings(settings: Settings, _ledger: RecordLedger) -> S3Stage:
    """Returns the stage that a definition's table describes; `client` is what boto3 takes."""
    bucket, prefix = settings.text("bucket"), settings.text("prefix", "")
    options = settings.table("client", {})
    settings.check()
    client = settings.made("client", lambda: boto3.client("s3", **options))
    return S3Stage(client, bucket, prefix)


class S3Stage:
    """Keeps staged files under a prefix of a bucket, each with a SHA-256 that S3 has checked.

    A file is seen when its upload is complete. `client` is a boto3 client.
    """

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def check(self, name: str) -> None:
        """Refuses a prefix with which S3 does not take a file of this name.

        :raises MoveFailed: naming the prefix.
        """
        needed = len(self._object(name)["Key"].encode("utf-8", "surrogateescape"))
        if needed > _KEY_BYTES:
            raise MoveFailed(
                f"s3://{self._bucket}/{self._prefix}: a key may have {_KEY_BYTES} bytes, and those "
                f"of the pipeline have up to {needed}",
                hint="Choose a shorter prefix, or a shorter pipeline_id.",
            )

    def create(self, name: str) -> _S3File:
        """Begins a file: uploaded piece by piece when it is larger than one."""
        return _S3File(self._client, self._object(name))

    def write_once(self, name: str, data: bytes) -> bool:
        """Stores a small file unless there is one of that name; S3 itself decides."""

        def put() -> bool:
            try:
                self._client.put_object(
                    **self._object(name), Body=data, ChecksumSHA256=_sha256(data), IfNoneMatch="*"
                )
            except ClientError as error:
                if _code(error) == "PreconditionFailed":
                    return False
                raise
            return True

        with _told(self._object(name)):
            # Two that write at once: S3 may ask one of them to come again.
            return retrying("put_object", put, _pause_after, _CONFLICTS)

    @contextmanager
    def open(self, name: str) -> Iterator[_Body]:
        """Opens a file for reading; what S3 sends is checked by boto3 as far as it can be."""
        with _told(self._object(name)):
            try:
                body = self._client.get_object(**self._object(name))["Body"]
            except ClientError as error:
                if _code(error) in _MISSING:
                    raise FileNotFoundError(name) from error
                raise
        try:
            yield _Body(body, self._object(name))
        finally:
            body.close()

    def checksum(self, name: str) -> str | None:
        """Returns the size, ETag and SHA-256 that S3 keeps of a file (of its pieces, if any)."""
        with _told(self._object(name)):
            return _checksum(self._client, self._object(name))

    def remove(self, folder: str, unless: Callable[[str, float], bool]) -> int:
        """Removes files below a folder, and uploads that were never completed."""
        place = {"Bucket": self._bucket, "Prefix": f"{self._prefix}{folder}"}
        now = dt.datetime.now(dt.timezone.utc)

        def goes(key: str, since: dt.datetime) -> bool:
            return not unless(key[len(self._prefix) :], (now - since).total_seconds())

        with _told(self._object(folder)):
            pages = self._client.get_paginator("list_objects_v2").paginate(**place)
            keys = [
                one["Key"]
                for page in pages
                for one in page.get("Contents", [])
                if goes(one["Key"], one["LastModified"])
            ]
            for at in range(0, len(keys), _MANY):
                objects = [{"Key": key} for key in keys[at : at + _MANY]]
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
                )
                for error in answer.get("Errors", []):
                    raise MoveFailed(f"{error['Key']} cannot be removed: {error['Message']}")
            uploads = [
                one
                for page in self._client.get_paginator("list_multipart_uploads").paginate(**place)
                for one in page.get("Uploads", [])
                if goes(one["Key"], one["Initiated"])
            ]
            for one in uploads:
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=one["Key"], UploadId=one["UploadId"]
                )
        return len(keys) + len(uploads)

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{name}"}


class _S3File:
    """A file that is being uploaded."""

    def __init__(self, client: Any, where: dict[str, str]) -> None:
        self._client = client
        self._where = where
        self._buffer = bytearray()
        self._upload: str | None = None
        self._pieces: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        """Adds bytes; sends them once there is a piece of them."""
        self._buffer += data
        while len(self._buffer) >= CHUNK:
            piece = bytes(self._buffer[:CHUNK])
            del self._buffer[:CHUNK]
            self._send(piece)

    def commit(self) -> str:
        """Completes the upload; S3 checks the SHA-256 of each piece and of all of them."""
        data = bytes(self._buffer)
        with _told(self._where):
            if self._upload is None:
                self._client.put_object(**self._where, Body=data, ChecksumSHA256=_sha256(data))
            else:
                if data:
                    self._send(data)
                self._client.complete_multipart_upload(
                    **self._where, UploadId=self._upload, MultipartUpload={"Parts": self._pieces}
                )
                self._upload = None
            return str(_checksum(self._client, self._where))

    def abort(self) -> None:
        """Leaves nothing of it."""
        upload, self._upload = self._upload, None
        if upload is None:
            return
        with _told(self._where):
            try:
                self._client.abort_multipart_upload(**self._where, UploadId=upload)
            except ClientError as error:
                if _code(error) != "NoSuchUpload":  # somebody cleaned up meanwhile
                    raise

    def _send(self, piece: bytes) -> None:
        with _told(self._where):
            if self._upload is None:
                self._upload = self._client.create_multipart_upload(
                    **self._where, ChecksumAlgorithm="SHA256"
                )["UploadId"]
            number, checksum = len(self._pieces) + 1, _sha256(piece)
            answer = self._client.upload_part(
                **self._where,
                UploadId=self._upload,
                PartNumber=number,
                Body=piece,
                ChecksumSHA256=checksum,
            )
            self._pieces.append(
                {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}
            )


class _Body:
    """What is read of a file; a connection that breaks is an error of moving."""

    def __init__(self, body: Any, where: dict[str, str]) -> None:
        self._body = body
        self._where = where

    def read(self, size: int) -> bytes:
        """Returns the next bytes; none at the end."""
        with _told(self._where):
            data: bytes = self._body.read(size)
            return data


@contextmanager
def _told(where: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError) and _code(error) == "NoSuchUpload":
            raise StagedDataDamaged(
                f"s3://{where['Bucket']}/{where['Key']}: its upload was ended while it was sent: "
                "a later claim has begun, or a rule of the bucket removes unfinished uploads",
                hint=READ_AGAIN,
            ) from error
        raise MoveFailed(f"s3://{where['Bucket']}/{where['Key']}: {error}") from error


def _sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode("ascii")


def _checksum(client: Any, where: dict[str, str]) -> str | None:
    try:
        head = client.head_object(**where, ChecksumMode="ENABLED")
    except ClientError as error:
        if _code(error) in _MISSING:
            return None
        raise
    # Not every store that speaks the protocol keeps a SHA-256.
    return f"{head['ContentLength']} {head['ETag']} {head.get('ChecksumSHA256', '-')}"


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _pause_after(error: Exception) -> float | None:
    conflict = isinstance(error, ClientError) and _code(error) == "ConditionalRequestConflict"
    return 0.0 if conflict else None
