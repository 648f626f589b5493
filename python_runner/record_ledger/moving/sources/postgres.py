"""The earlier name of `record_ledger.moving.connectors.postgres.source`."""

import sys

from record_ledger.moving.connectors.postgres import source

sys.modules[__name__] = source
