"""moto's server: a real S3 endpoint for boto3, in this process."""

from __future__ import annotations

import itertools

import boto3
from moto.server import ThreadedMotoServer

from record_ledger.moving.connectors.s3 import S3Stage

CREDENTIALS = {
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
    "region_name": "us-east-1",
}


class S3Server:
    """A context manager; `bucket()` gives a new one each time."""

    def __init__(self):
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._numbers = itertools.count(1)

    def __enter__(self):
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.options = {"endpoint_url": f"http://{host}:{port}", **CREDENTIALS}
        return self

    def __exit__(self, *_):
        self._server.stop()

    def bucket(self):
        return Bucket(self.options, f"bucket-{next(self._numbers)}")


class Bucket:
    def __init__(self, options, name):
        self.options, self.name = options, name
        self.client = boto3.client("s3", **options)
        self.client.create_bucket(Bucket=name)

    def stage(self, prefix=""):
        return S3Stage(self.client, self.name, prefix)

    def keys(self):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return sorted(one["Key"] for page in pages for one in page.get("Contents", []))

    def uploads(self):
        found = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        return [one["Key"] for one in found]
