"""The earlier name of `record_ledger.moving.connectors.elasticsearch`."""

import sys

from record_ledger.moving.connectors import elasticsearch

sys.modules[__name__] = elasticsearch
