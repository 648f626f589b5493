"""The earlier name of `record_ledger.moving.connectors.local`."""

import sys

from record_ledger.moving.connectors import local

sys.modules[__name__] = local
