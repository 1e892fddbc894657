# What the component exports. It calls the author's functions, which are in `plugin`.
import json
import linecache
import random
import sys
import time
import traceback

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import about
from wit_world.imports import clock, log
from wit_world.imports import random as chance

from proxywhirl_about import DESCRIPTION

# A traceback is told in lines, the last ones first to be seen.
_LINES = 20


class _Lines:
    """A stream that writes lines into the host's log."""

    def __init__(self, level: log.Level) -> None:
        self._level = level
        self._rest = ""

    def write(self, text: str) -> int:
        self._rest += text
        *lines, self._rest = self._rest.split("\n")
        # While the component is made there is no host to tell.
        if _state.started:
            for line in lines:
                log.write(self._level, line)
        return len(text)

    def flush(self) -> None:
        pass


class _State:
    started = False


_state = _State()
sys.stdout = _Lines(log.Level.INFO)
sys.stderr = _Lines(log.Level.WARN)
# The clocks of the platform are not there: a call of them would end the instance.
time.time = lambda: clock.now() / 1_000_000
time.time_ns = lambda: clock.now() * 1_000
time.monotonic = time.perf_counter = time.time
time.monotonic_ns = time.perf_counter_ns = time.time_ns

# A traceback would look for the source's lines in a file system that is not there.
linecache.checkcache = lambda filename=None: None
linecache.getlines = lambda filename, module_globals=None: []

import plugin  # noqa: E402  The author's module finds the streams and clocks as they will be.


def _optional(name: str, default):
    return getattr(plugin, name, default)


def _call(function, *arguments):
    """Calls a function of the author's. What it raises is told before the instance ends."""
    if not _state.started:
        _state.started = True
        # The snapshot holds the generator's state: without a seed every instance would repeat it.
        random.seed(chance.next())
    try:
        return function(*arguments)
    except Err:
        raise
    except Exception as error:
        lines = "".join(traceback.format_exception(error)).rstrip().split("\n")
        for line in lines[-_LINES:]:
            log.write(log.Level.ERROR, line)
        raise


def _fallible(function, *arguments):
    """The same where the contract has an error: a ValueError is the answer, anything else is a fault."""

    def answered(*arguments):
        try:
            return function(*arguments)
        except ValueError as error:
            raise Err(str(error) or "refused") from None

    return _call(answered, *arguments)


class About(exports.About):
    def describe(self) -> about.Description:
        return about.Description(**DESCRIPTION)
