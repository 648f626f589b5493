"""The earlier name of `record_ledger.moving.connectors.snowflake.target`."""

import sys

from record_ledger.moving.connectors.snowflake import target

sys.modules[__name__] = target
