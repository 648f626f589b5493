"""A Python whose clock is wrong by $WRONG_BY_SECONDS: each Python with this on its path imports it."""

import os
import time

_SECONDS = int(os.environ["WRONG_BY_SECONDS"])
_time, _time_ns, _gmtime, _localtime = time.time, time.time_ns, time.gmtime, time.localtime

time.time = lambda: _time() + _SECONDS
time.time_ns = lambda: _time_ns() + _SECONDS * 10**9
time.gmtime = lambda seconds=None: _gmtime(time.time() if seconds is None else seconds)
time.localtime = lambda seconds=None: _localtime(time.time() if seconds is None else seconds)
