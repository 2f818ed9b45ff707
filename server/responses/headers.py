"""Headers of an answer: the model, warnings and timings, for which pictures and arrays have no other place."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

WARNINGS_HEADER, MODEL_HEADER = "X-Warnings", "X-Model"


def answer_headers(model: tuple[str, str], stages: Mapping[str, float], warnings: list[str]) -> dict[str, str]:
    """The headers of one answer.

    Args:
        model: (name, version), which are percent-encoded.
        stages: stage -> milliseconds, for `Server-Timing`.
        warnings: what the maps are not good for; without any, there is no such header.
    """
    headers = {
        "Server-Timing": ", ".join(f"{stage};dur={milliseconds:.1f}" for stage, milliseconds in stages.items()),
        MODEL_HEADER: "/".join(quote(word, safe=" ") for word in model),
    }
    return headers | ({WARNINGS_HEADER: "; ".join(warnings)} if warnings else {})
