"""Property tests draw the same examples everywhere: a commit that is green stays green."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")
