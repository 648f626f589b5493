"""Fixtures of the tests of moving: the S3 server, and a stage of each kind."""

from __future__ import annotations

import logging

import pytest

from record_ledger.moving.stages.local import LocalStage
from tests.moving.s3_server import S3Server


@pytest.fixture(scope="session")
def s3_server():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with S3Server() as server:
        yield server


@pytest.fixture
def s3(s3_server):
    """A bucket of the test's own: `s3.stage(prefix)`, `s3.client`, `s3.keys()`, `s3.uploads()`."""
    return s3_server.bucket()


@pytest.fixture(params=["local", "s3"])
def stage(request, tmp_path):
    """A stage of each kind."""
    if request.param == "local":
        return LocalStage(tmp_path / "stage")
    return request.getfixturevalue("s3").stage("some/prefix")
