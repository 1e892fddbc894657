"""What a ProxyWhirl plugin in Python imports: the host's log, clock and symbols, and the types of its kind.

There is no file system, no network and no environment. The standard library's `time.time()` and `random`
work, on the host's clock and from the host's seed, and `print()` goes into the host's log. Import at the
top of a module only: the component is a snapshot taken after the imports, and finds no module later.
"""

from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, NamedTuple, Optional, Union

from wit_world.imports import clock as _clock
from wit_world.imports import log as _log


class log:
    """Lines in the host's log, under the plugin's name. The host caps their length and rate."""

    @staticmethod
    def trace(message: object) -> None:
        _log.write(_log.Level.TRACE, str(message))

    @staticmethod
    def debug(message: object) -> None:
        _log.write(_log.Level.DEBUG, str(message))

    @staticmethod
    def info(message: object) -> None:
        _log.write(_log.Level.INFO, str(message))

    @staticmethod
    def warn(message: object) -> None:
        _log.write(_log.Level.WARN, str(message))

    @staticmethod
    def error(message: object) -> None:
        _log.write(_log.Level.ERROR, str(message))


def now() -> int:
    """Microseconds since the Unix epoch, from a clock that does not go backwards."""
    return _clock.now()
