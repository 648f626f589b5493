"""The earlier name of `record_ledger.server.embedded`."""

import sys

from .server import embedded

sys.modules[__name__] = embedded
