"""The earlier name of `record_ledger.moving.connectors.postgres.target`."""

import sys

from record_ledger.moving.connectors.postgres import target

sys.modules[__name__] = target
