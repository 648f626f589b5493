"""Makes `python -m record_ledger` the same as `record-ledger`."""

import sys

from .cli import main

sys.exit(main())
