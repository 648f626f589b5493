"""Finds out with which SQLSTATE a server refuses a connection; the driver does not say."""

from __future__ import annotations

import ctypes
import re
import select
import time
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# libpq then writes an error of the server as its severity and SQLSTATE, without any text.
_PQERRORS_SQLSTATE = 3
_CODE = re.compile(rb":  ([0-9A-Z]{5})\s*\Z")
_LISTS = ("host", "hostaddr", "port")


def refusals(conninfo: str, seconds: float) -> list[str | None]:
    """Connects once more to each host of a connection string; returns how each one refuses.

    A SQLSTATE where the server answers with one; None where none answers in time, the connection
    fails on our side, or succeeds after all. `seconds` is the limit for each host.
    """
    set_verbosity = _set_verbosity()
    if set_verbosity is None:
        return [None]
    return [_refusal(each, seconds, set_verbosity) for each in _each_host(conninfo)]


def _refusal(conninfo: str, seconds: float, set_verbosity: Callable[..., Any]) -> str | None:
    deadline = time.monotonic() + seconds
    connection = pq.PGconn.connect_start(conninfo.encode())
    try:
        pointer: int | None = getattr(connection, "pgconn_ptr", None)
        if connection.status == pq.ConnStatus.BAD or pointer is None:
            return None
        set_verbosity(pointer, _PQERRORS_SQLSTATE)
        while True:
            state = connection.connect_poll()
            left = deadline - time.monotonic()
            if state == pq.PollingStatus.OK or left <= 0.0:
                return None
            if state == pq.PollingStatus.FAILED:
                found = _CODE.search(connection.error_message)
                return found[1].decode("ascii") if found else None
            _wait(connection.socket, state, left)
    finally:
        connection.finish()


def _wait(descriptor: int, state: int, seconds: float) -> None:
    wanted = [descriptor]
    if state == pq.PollingStatus.READING:
        select.select(wanted, [], [], seconds)
    else:
        select.select([], wanted, wanted, seconds)


def _each_host(conninfo: str) -> Iterator[str]:
    """Yields a connection string for each host: at a refusal libpq would not try the next one."""
    given = conninfo_to_dict(conninfo)
    lists = {name: str(given[name]).split(",") for name in _LISTS if given.get(name) is not None}
    count = max((len(values) for values in lists.values()), default=1)
    for number in range(count):
        # One port stands for all hosts.
        one = {name: values[number % len(values)] for name, values in lists.items()}
        yield make_conninfo("", **{**given, **one})


@lru_cache(maxsize=1)
def _set_verbosity() -> Callable[..., Any] | None:
    """Returns libpq's PQsetErrorVerbosity, which the driver does not offer; None where it hides.

    It is looked for in the driver's own library, which is linked with the libpq in use.
    """
    try:
        module = import_module(pq.PGconn.__module__)
        function = ctypes.CDLL(module.__file__).PQsetErrorVerbosity
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_int]
    function.restype = ctypes.c_int
    return function
