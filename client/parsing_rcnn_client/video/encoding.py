"""How the pictures of a video are encoded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from parsing_rcnn.errors import InvalidOptions

CODECS = {"h264": "libx264", "h265": "libx265"}
"""Our name of a codec -> FFmpeg's name of its encoder."""
_INSTEAD = {"h264": "libopenh264"}  # encoders for where the first ones are missing, as in the ffmpeg-free of Fedora

_CRF = {"h264": 20, "h265": 24}  # which look about the same
_WORST = 51
_H265 = (".mp4", ".mov", ".mkv")
_INSTALL = "install an ffmpeg that has (sh scripts/install_ffmpeg.sh; on Fedora the one of RPM Fusion, or openh264)"


@dataclass(frozen=True)
class Encoding:
    """The codec, the quality and the speed.

    Attributes:
        codec: one of `CODECS`; h265 takes about half the bytes and three times the work.
        crf: quality, from 0 (the best) to 51 (the smallest file); None for 20 with h264 and 24 with h265.
        preset: the encoder's name of its speed; a faster one makes larger files. (libopenh264 has none.)
        instead: whether the encoder is the one for where that of `CODECS` is missing; `fitting` chooses it.

    Raises:
        InvalidOptions: an unknown codec, or a number out of range.
    """

    codec: str = "h264"
    crf: int | None = None
    preset: str = "superfast"
    instead: bool = False

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise InvalidOptions(f"--codec {self.codec}: choose one of {', '.join(CODECS)}")
        if self.crf is not None and not 0 <= self.crf <= _WORST:
            raise InvalidOptions(f"--crf {self.crf}: choose from 0 (the best) to {_WORST} (the smallest)")

    def fitting(self, target: Path, encoders: Collection[str]) -> Encoding:
        """This encoding with an encoder that is installed.

        Args:
            target: the file, or an address.
            encoders: FFmpeg's names of the installed encoders.

        Raises:
            InvalidOptions: the container does not hold the codec, or no encoder of it is installed; the message says
                what is possible instead.
        """
        if self.codec == "h265" and target.suffix.lower() not in _H265:
            raise InvalidOptions(f"{target}: does not hold h265: name a {', '.join(_H265)}, or --codec h264")
        for instead, names in ((False, CODECS), (True, _INSTEAD)):
            if names.get(self.codec) in encoders:
                return replace(self, instead=instead)
        there = [name for name in CODECS if {CODECS[name], _INSTEAD.get(name)} & set(encoders)]
        remedy = f"choose {there[0]}" if there else _INSTALL
        raise InvalidOptions(f"--codec {self.codec}: ffmpeg here has no {CODECS[self.codec]}: {remedy}")

    @property
    def encoder(self) -> str:
        """FFmpeg's name of the encoder."""
        return (_INSTEAD if self.instead else CODECS)[self.codec]

    @property
    def options(self) -> dict[str, str]:
        """Options of the encoder, by FFmpeg's names."""
        crf = _CRF[self.codec] if self.crf is None else self.crf
        if self.instead:  # this encoder has no quality, but the limits of its quantisers make one
            return {"rc_mode": "quality", "qmin": str(crf), "qmax": str(crf)}
        quiet = {"x265-params": "log-level=error"} if self.codec == "h265" else {}
        return {"preset": self.preset, "crf": str(crf), **quiet}

    def tag(self, target: str) -> str | None:
        """The codec's tag in the container; None for FFmpeg's choice. Apple's players play H.265 only as hvc1."""
        return "hvc1" if self.codec == "h265" and Path(target).suffix.lower() in (".mp4", ".mov") else None
