"""What `annotate` and `stream` have to know alike about finding, following and drawing people."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace

from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.drawing.hiding import NOT_HIDDEN
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.geometry import Region
from parsing_rcnn.limits import MAX_PEOPLE
from parsing_rcnn_client.video.follow import request
from parsing_rcnn_client.video.layers import Look
from parsing_rcnn_client.video.smoothing import STEADY, Smoothing
from parsing_rcnn_client.video.zones import Zones


@dataclass(frozen=True)
class Following:
    """How people are found, followed and drawn.

    Attributes:
        look: what to draw.
        confidence: the lowest score that starts a track.
        max_people: the most people in a frame.
        smoothing: how much to steady boxes and maps; None leaves them as the engine gives them.
        tasks: to compute for the records, in addition to those that the look needs.
        zones: zones and lines in which to count people.
        max_side: scale frames for the analysis down to this longest side, pixels; None does not scale.
        region: look at this part of the frames only: x1, y1, x2, y2 in pixels; None looks at all of them.
        tiles: look at frames in tiles as well, so many along the longer side; see `Options`.
    """

    look: Look = field(default_factory=Look)
    confidence: float = 0.5
    max_people: int = MAX_PEOPLE
    _: KW_ONLY
    smoothing: Smoothing | None = STEADY
    tasks: frozenset[str] = frozenset()
    zones: Zones | None = None
    max_side: int | None = None
    region: Region | None = None
    tiles: int = 1

    def __post_init__(self) -> None:
        """Raises:
        InvalidOptions: nobody beside the region would be hidden.
        """
        if self.region is not None and self.look.hides:
            raise InvalidOptions(f"region: {NOT_HIDDEN}")

    def request(self, engine: Analyzer) -> Options:
        """What to ask an engine for; see `follow.request`."""
        look = self.look
        tasks = look.tasks | self.tasks
        asked = request(engine, tasks, self.confidence, self.max_people, self.smoothing, look.hides, self.max_side)
        return replace(asked, region=self.region, tiles=self.tiles)
