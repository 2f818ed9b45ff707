"""Chooses the format of an answer by the header Accept and the option `render`."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers

from server.errors import NotAcceptable
from server.requests.options import NO_JPEG, PICTURES, Format, Render

_PREFERRED = (Format.JSON, Format.PNG, Format.JPEG, Format.NPZ, Format.ZIP)


def accepted(headers: Headers) -> str | None:
    """The header Accept, of which there may be several, as one list; None without any."""
    return ", ".join(headers.getlist("accept")) or None


def choose(accept: str | None, render: Render | None, offered: Sequence[Format] = _PREFERRED) -> Format:
    """The format with the highest weight. Among equals it is JSON, or a picture if the options have a rendering.

    Args:
        accept: the header Accept.
        render: of the options. Those in `NO_JPEG` cannot be JPEG.
        offered: formats of the route, in order of preference.

    Raises:
        NotAcceptable: none of the accepted types can be made.
    """
    possible = [f for f in offered if f is not Format.JPEG or render not in NO_JPEG]
    preferred = sorted(possible, key=lambda f: f not in PICTURES) if render is not None else possible
    if not accept:
        return preferred[0]
    ranges = [_parse(part) for part in accept.split(",") if part.strip()]
    best, best_weight = None, 0.0
    for candidate in preferred:
        weight = _weight(ranges, candidate)
        if weight > best_weight:
            best, best_weight = candidate, weight
    if best is None:
        why = "nothing of it can be made"
        if render in NO_JPEG and Format.JPEG in offered and _weight(ranges, Format.JPEG):
            why = f"render={render.value} has no JPEG, as {NO_JPEG[render]}"
        raise NotAcceptable(f"Accept: {accept}: {why}; choose from {', '.join(f.value for f in possible)}")
    return best


def _weight(ranges: Sequence[tuple[str, float]], candidate: Format) -> float:
    """The weight of a format, 0..1, by the most specific range that covers it (RFC 9110, 12.5.1)."""
    covering = [(specific, weight) for kind, weight, specific in map(_ranked, ranges) if _covers(kind, candidate)]
    return max(covering)[1] if covering else 0.0


def _parse(part: str) -> tuple[str, float]:
    """(media range in small letters, weight) of one item of Accept."""
    kind, *parameters = (p.strip() for p in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return kind.lower(), min(max(float(value), 0.0), 1.0)
            except ValueError:
                return kind.lower(), 0.0
    return kind.lower(), 1.0


def _ranked(entry: tuple[str, float]) -> tuple[str, float, int]:
    kind, weight = entry
    return kind, weight, 0 if kind == "*/*" else 1 if kind.endswith("/*") else 2


def _covers(kind: str, candidate: Format) -> bool:
    return kind in ("*/*", candidate.value) or (kind.endswith("/*") and candidate.value.startswith(kind[:-1]))
