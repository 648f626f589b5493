"""The earlier name of `record_ledger.moving.connectors.s3`."""

import sys

from record_ledger.moving.connectors import s3

sys.modules[__name__] = s3
