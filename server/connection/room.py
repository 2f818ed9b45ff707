"""Which connection makes way for the next one where as many are open as may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from server.connection.readers import Readers

PROBES = frozenset({b"/healthz", b"/livez", b"/readyz", b"/v2/health/live", b"/v2/health/ready"})
"""Paths that are answered though no place is left: whoever watches over the gateway must not take it for dead."""

REASON = "all connections were in use (--max-connections), and another one came"


def make(connections: Iterable[Any], readers: Readers) -> bool:
    """Close one connection: the one that is silent for longest; else the one whose client has been reading answers to
    GET for longest; else the one that would need longest to read what was computed for it, if that is long.

    Args:
        connections: `Connection` and `Stream` ones.
        readers: clients that have not read their answers.

    Returns:
        Whether there was one.
    """
    known = [each for each in connections if hasattr(each, "quiet_since")]
    if quiet := [each for each in known if each.quiet_since is not None]:
        longest = min(quiet, key=lambda each: each.quiet_since)
        longest.quiet_since = None  # it is not chosen again before the loop has closed it
        longest.transport.abort()
    elif reading := [each for each in known if getattr(each, "repeated_since", None) is not None]:
        min(reading, key=lambda each: each.repeated_since).make_way()
    elif slowest := readers.slowest():
        slowest.let_go(REASON)
    else:
        return False
    return True
