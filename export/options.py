"""The options of `parsing-rcnn export` that change the graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from parsing_rcnn.card import LARGEST_SIDE, LEAST_SIDE, STEP
from parsing_rcnn.limits import MAX_PEOPLE
from training.config import Config
from training.engine import LIGHT_CANVASES

Pooling = Literal["roi_align", "matmul"]
PRECISIONS = ("fp32", "fp16", "bf16")
PAPER_CANVASES = ((800, 1344), (1344, 800), (1056, 1056))
MOST_PROPOSALS = 5000


class OptionError(ValueError):
    """An option is out of range; the message names it, its value and what it may be."""


@dataclass(frozen=True)
class ExportOptions:
    """Options of the graphs; the defaults are those of the shipped model.

    Attributes:
        precision: the type that the graphs compute in, see `export.precision`.
        sizes: (height, width) of the canvases that pictures are fitted to; empty: those usual for the recipe's network.
        proposals: the most proposals of a picture; None: the recipe's.
        max_people: the most people of a picture.
        static_people: the detector always gives this many rows, of which the first COUNT are people; None: it gives as
            many rows as it finds people.
        people_buckets: the numbers of people that heads are compiled for; empty: each runtime's own.
        pooling: how the heads' RoIs are pooled, see `export.graphs.DetectorGraph`.
    """

    precision: str = "fp32"
    sizes: tuple[tuple[int, int], ...] = ()
    proposals: int | None = None
    max_people: int = MAX_PEOPLE
    static_people: int | None = None
    people_buckets: tuple[int, ...] = ()
    pooling: Pooling = "roi_align"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise OptionError(f"--precision {self.precision}: choose one of {', '.join(PRECISIONS)}")
        if self.pooling not in get_args(Pooling):
            raise OptionError(f"--pooling {self.pooling}: choose one of {', '.join(get_args(Pooling))}")
        for height, width in self.sizes:
            if any(side % STEP or not LEAST_SIDE <= side <= LARGEST_SIDE for side in (height, width)):
                raise OptionError(
                    f"--size {height}x{width}: height and width are multiples of {STEP} from {LEAST_SIDE} to "
                    f"{LARGEST_SIDE}"
                )
        _within("--proposals", self.proposals, MOST_PROPOSALS)
        _within("--max-people", self.max_people, MAX_PEOPLE)
        _within("--static-people", self.static_people, self.max_people)
        if self.people_buckets:
            self._check_buckets()

    def _check_buckets(self) -> None:
        buckets, told = self.people_buckets, ",".join(map(str, self.people_buckets))
        if buckets[0] != 1 or list(buckets) != sorted(set(buckets)) or buckets[-1] > MAX_PEOPLE:
            raise OptionError(f"--people-buckets {told}: rising numbers from 1 to at most {MAX_PEOPLE}")
        if buckets[-1] < self.most_people:
            raise OptionError(
                f"--people-buckets {told}: end below the {self.most_people} people that a picture may have; add that "
                "number, or lower --max-people"
            )

    @property
    def most_people(self) -> int:
        """The most people of a picture: the rows of a static detector, else `max_people`."""
        return self.static_people or self.max_people

    def canvases(self, config: Config) -> tuple[tuple[int, int], ...]:
        """(height, width) of the canvases: `sizes`, else a landscape, a portrait and a square one."""
        paper = config.model.backbone.startswith("res")
        return self.sizes or (PAPER_CANVASES if paper else LIGHT_CANVASES)

    def recipe(self, config: Config) -> Config:
        """The recipe with `proposals` written in."""
        if self.proposals is None:
            return config
        rpn = config.model.rpn.model_copy(update={"proposals_test": self.proposals})
        return config.model_copy(update={"model": config.model.model_copy(update={"rpn": rpn})})

    def told(self) -> dict[str, object]:
        """The fields of a model card for the options that are not the defaults."""
        found: dict[str, object] = {}
        if self.precision != "fp32":
            found["precision"] = self.precision
        if self.max_people != MAX_PEOPLE:
            found["max_people"] = self.max_people
        if self.static_people is not None:
            found["static_people"] = self.static_people
        if self.people_buckets:
            found["people_buckets"] = list(self.people_buckets)
        return found

    @classmethod
    def read(cls, sizes: Sequence[str], buckets: str | None, **rest: object) -> ExportOptions:
        """Read options of the command line: sizes as HEIGHTxWIDTH, buckets as 1,4,16.

        Raises:
            OptionError: a size or the buckets cannot be read, or an option is out of range.
        """
        return cls(
            sizes=tuple(_size(text) for text in sizes),
            people_buckets=() if buckets is None else _numbers(buckets),
            **rest,  # type: ignore[arg-type]
        )


def _within(name: str, value: int | None, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        raise OptionError(f"{name} {value}: a number from 1 to {most}")


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise OptionError(f"--size {text}: HEIGHTxWIDTH, as in 384x640")
    return int(height), int(width)


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise OptionError(f"--people-buckets {text}: numbers between commas, as in 1,4,16,64")
    return tuple(int(part) for part in parts)
