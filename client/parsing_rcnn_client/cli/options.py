"""Options that several commands share.

A parameter of a command whose type is one of the dataclasses here stands for the fields of that dataclass: `spread`
shows them to typer as options and hands the command the object.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from parsing_rcnn.limits import MAX_PEOPLE, MAX_SIDE, MAX_TILES, MIN_MAX_SIDE

if TYPE_CHECKING:
    from parsing_rcnn.analyzer import Analyzer
    from parsing_rcnn.geometry import Region
    from parsing_rcnn_client.predict.drawings import Drawings
    from parsing_rcnn_client.video.layers import Look

Key = Annotated[
    str | None,
    typer.Option(
        help="API key of --server (default: PARSING_RCNN_API_KEY, which no list of processes shows).", metavar="KEY"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


@dataclass(frozen=True)
class EngineChoice:
    """Which engine computes."""

    server: Annotated[
        str | None, typer.Option(help="Ask this gateway, http://127.0.0.1:8080 for example.", metavar="URL")
    ] = None
    key: Key = field(default=None, repr=False)
    ca: Annotated[
        Path | None,
        typer.Option(
            help="Who signed the certificate of an https:// --server, PEM (default: SSL_CERT_FILE, SSL_CERT_DIR, this "
            "machine's).",
            metavar="FILE",
        ),
    ] = None
    triton: Annotated[
        str | None, typer.Option(help="Ask this Triton, grpc://host:8001 or http://host:8000.", metavar="URL")
    ] = None
    embedded: Annotated[bool, typer.Option("--embedded", help="Compute in this process (the default).")] = False
    repository: Annotated[
        Path | None,
        typer.Option(
            help="Model repository (default: PARSING_RCNN_REPOSITORY, the clone, the installed files).",
            metavar="FOLDER",
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            help="A name that `parsing-rcnn info` lists (the shipped model: fast, large, accurate); default: the "
            "repository's or the server's own.",
            metavar="NAME",
        ),
    ] = None
    runtime: Annotated[str, typer.Option(help="Of --embedded: auto, openvino or onnxruntime.")] = "auto"
    precision: Annotated[str, typer.Option(help="Of --embedded: auto, fp32, bf16 or int8.")] = "auto"
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of --embedded: threads of one inference (default: all usable cores).")
    ] = None

    def open(self, timeout: float, jpeg_quality: int | None = None, *, retry: bool = True) -> Analyzer:
        """The engine chosen.

        Args:
            timeout: seconds that a server may take for one picture.
            jpeg_quality: of arrays on the way to a server; None sends PNG.
            retry: whether a server that is away or busy is asked again.

        Raises:
            InvalidOptions: two engines are named, an option of the embedded engine beside a server, a key or --ca
                without a gateway, or no certificate is in the file of --ca.
            ParsingRCNNError: the engine cannot be opened.
        """
        from parsing_rcnn.errors import InvalidOptions

        if sum((self.server is not None, self.triton is not None, self.embedded)) > 1:
            raise InvalidOptions("--server, --triton and --embedded exclude each other: name one")
        require_server(self.key, self.server, self.ca)
        own: dict[str, Any] = {"runtime": self.runtime, "precision": self.precision, "threads": self.threads}
        address = self.server or self.triton
        if address is None:
            from parsing_rcnn.pipeline import Pipeline

            return Pipeline(self.repository, model=self.model, **own)
        own |= {"repository": self.repository}
        chosen = [f"--{name}" for name, value in own.items() if value not in (None, "auto")]
        if chosen:
            raise InvalidOptions(f"{', '.join(chosen)}: only for the embedded engine; a server has its own")
        if self.server is not None:
            from parsing_rcnn_client.sdk.certificates import authorities
            from parsing_rcnn_client.sdk.gateway import Gateway

            return Gateway(
                self.server,
                timeout,
                api_key=self.key,
                verify=None if self.ca is None else authorities(self.ca),
                model=self.model,
                jpeg_quality=jpeg_quality,
                retry=retry,
            )
        from parsing_rcnn_client.sdk.triton import Triton

        return Triton(address, timeout, model=self.model, jpeg_quality=jpeg_quality, retry=retry)


@dataclass(frozen=True)
class PeopleChoice:
    """Which people to find."""

    confidence: Annotated[float, typer.Option(min=0, max=1, help="The lowest score with which people are kept.")] = 0.5
    max_people: Annotated[
        int,
        typer.Option(
            min=1, max=MAX_PEOPLE, help="The most people in a picture; those with the highest scores are kept."
        ),
    ] = MAX_PEOPLE
    max_side: Annotated[
        int | None,
        typer.Option(
            min=MIN_MAX_SIDE,
            max=MAX_SIDE,
            help="Scale pictures down to this longest side before they are analysed; results still fit the originals "
            "(default: no limit).",
            metavar="PIXELS",
        ),
    ] = None
    region: Annotated[
        str | None,
        typer.Option(
            help="Look at this part of the pictures only, at its full size; in pixels (default: at all of them).",
            metavar="X1,Y1,X2,Y2",
        ),
    ] = None
    tiles: Annotated[
        int,
        typer.Option(
            min=1,
            max=MAX_TILES,
            help="Look at pictures in overlapping tiles as well, so many along the longer side: for small people in "
            "large pictures.",
        ),
    ] = 1

    def where(self) -> Region | None:
        """The region.

        Raises:
            InvalidOptions: it is none.
        """
        from parsing_rcnn.analyzer import region_of
        from parsing_rcnn.errors import InvalidOptions

        try:
            return None if self.region is None else region_of(self.region)
        except InvalidOptions as error:
            raise InvalidOptions(f"--{error.detail}") from None


@dataclass(frozen=True)
class LookChoice:
    """What to draw over a video."""

    layers: Annotated[
        str, typer.Option(help="parts, iuv, contours, texture, boxes, anonymise: with commas, in order.")
    ] = "parts,boxes"
    atlas: Annotated[
        Path | None, typer.Option(help="Texture atlas, 6 rows of 4 squares, for the layer texture.", metavar="FILE")
    ] = None
    hide: Annotated[str, typer.Option(help="Whom the layer anonymise hides: heads, faces or people.")] = "heads"
    style: Annotated[str, typer.Option(help="How it hides them: pixelate or blur.")] = "pixelate"
    smooth: Annotated[bool, typer.Option(help="Steady boxes, parts and IUV over time.")] = True

    def look(self) -> Look:
        """The options as a `Look`, with the atlas read.

        Raises:
            InvalidOptions: a wrong name, or an atlas that cannot be read.
            ParsingRCNNError: the atlas is no picture.
        """
        from parsing_rcnn.errors import InvalidOptions
        from parsing_rcnn_client.layer_checks import split_names
        from parsing_rcnn_client.video.atlas import read_atlas
        from parsing_rcnn_client.video.layers import Look

        try:
            picture = None if self.atlas is None else read_atlas(self.atlas.read_bytes())
        except OSError as error:
            raise InvalidOptions(f"--atlas {self.atlas}: {error.strerror}") from None
        names = split_names(self.layers)
        return Look(layers=names, atlas=picture, hide=self.hide, style=self.style)


@dataclass(frozen=True)
class DrawingChoice:
    """What to draw of a picture."""

    layers: Annotated[
        str,
        typer.Option(
            help="Of _overlay: parts, charts, iuv, u, v, contours, boxes; anonymise also writes _hidden.jpg, and "
            "hides people in all pictures. With commas, in order."
        ),
    ] = "parts,boxes"
    hide: Annotated[
        str | None, typer.Option(help="What the layer anonymise hides: heads (the default), faces or people.")
    ] = None
    style: Annotated[str | None, typer.Option(help="How it hides them: pixelate (the default) or blur.")] = None
    cutout: Annotated[
        bool, typer.Option("--cutout", help="Also write _cutout.png: everybody, transparent around them.")
    ] = False
    crops: Annotated[bool, typer.Option("--crops", help="Also write _person1.jpg and so on: each person's box.")] = (
        False
    )

    def drawings(self) -> Drawings:
        """The options as `Drawings`.

        Raises:
            InvalidOptions: a wrong name, or --hide or --style without the layer anonymise.
        """
        from parsing_rcnn.errors import InvalidOptions
        from parsing_rcnn_client.layer_checks import split_names
        from parsing_rcnn_client.predict.drawings import Drawings

        names = split_names(self.layers)
        for option, value in (("--hide", self.hide), ("--style", self.style)):
            if value is not None and "anonymise" not in names:
                raise InvalidOptions(f"{option} {value} is for the layer anonymise: add --layers anonymise")
        return Drawings(names, self.hide or Drawings.hide, self.style or Drawings.style, self.cutout, self.crops)


@dataclass(frozen=True)
class ResultsChoice:
    """The COCO file of all pictures."""

    coco: Annotated[
        Path | None, typer.Option(help="Also write one COCO file of all pictures here.", metavar="FILE")
    ] = None
    parts: Annotated[bool, typer.Option("--parts", help="With --coco: an annotation for each part as well.")] = False
    image_ids: Annotated[
        Path | None,
        typer.Option(help="With --coco: a COCO file whose `images` have the ids, by file name.", metavar="FILE"),
    ] = None

    def check(self, tasks: frozenset[str]) -> None:
        """Check the options against each other and the tasks.

        Raises:
            InvalidOptions: they do not go together.
        """
        from parsing_rcnn.errors import InvalidOptions

        if self.coco is None and (self.parts or self.image_ids is not None):
            raise InvalidOptions(f"{'--parts' if self.parts else '--image-ids'} is about the file of --coco: name one")
        if self.parts and "parsing" not in tasks:
            raise InvalidOptions("--parts needs the task parsing: add it to --tasks")


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer: parameters that are dataclasses become one option for each field."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    own: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if not is_dataclass(kind):
            own.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))
        else:
            groups[name] = kind
    shown = [*own, *(option for kind in groups.values() for option in _options_of(kind))]

    @wraps(command)
    def spread_command(**given: Any) -> None:
        built = {name: kind(**{f.name: given.pop(f.name) for f in fields(kind)}) for name, kind in groups.items()}
        command(**given, **built)

    spread_command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    spread_command.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return spread_command


def _options_of(kind: Any) -> list[inspect.Parameter]:
    hints: Mapping[str, Any] = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            option.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if option.default is MISSING else option.default,
            annotation=hints[option.name],
        )
        for option in fields(kind)
    ]


def require_server(key: str | None, server: str | None, ca: Path | None = None) -> None:
    """Refuse a key, or an authority, without a gateway.

    Raises:
        InvalidOptions: there is one and no gateway.
    """
    from parsing_rcnn.errors import InvalidOptions

    if server is not None:
        return
    if key is not None:
        raise InvalidOptions("--key is what --server asks for: it goes with --server")
    if ca is not None:
        raise InvalidOptions("--ca is about the certificate of --server: it goes with --server")


def wrong(detail: str) -> typer.Exit:
    """Print what is wrong with the command line; the result, with exit code 2, is to be raised."""
    from parsing_rcnn.terminal import say

    say(f"error: {detail}")
    return typer.Exit(2)
