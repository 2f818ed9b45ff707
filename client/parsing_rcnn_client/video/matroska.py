"""Sends frames with their times through a pipe: the smallest subset of Matroska (RFC 9559) for raw pictures."""

from __future__ import annotations

import struct

TICK = 1_000
"""Nanoseconds of one tick, so times on the pipe are exact to a microsecond."""


def _element(name: str, payload: bytes) -> bytes:
    return bytes.fromhex(name) + struct.pack(">Q", 1 << 56 | len(payload)) + payload


def _number(name: str, value: int) -> bytes:
    return _element(name, value.to_bytes(max((value.bit_length() + 7) // 8, 1), "big"))


def header(width: int, height: int) -> bytes:
    """The header of a stream of unknown length with one RGB24 track."""
    ebml = _element("1a45dfa3", _element("4282", b"matroska") + _number("4287", 4) + _number("4285", 2))
    segment = bytes.fromhex("18538067") + b"\x01" + b"\xff" * 7
    info = _element("1549a966", _number("2ad7b1", TICK) + _element("4d80", b"pipe") + _element("5741", b"pipe"))
    picture = _number("b0", width) + _number("ba", height) + _element("2eb524", b"RGB\x18")
    track = _number("d7", 1) + _number("73c5", 1) + _number("83", 1) + _number("9c", 0)
    track += _element("86", b"V_UNCOMPRESSED") + _element("e0", picture)
    return ebml + segment + info + _element("1654ae6b", _element("ae", track))


def frame_head(time: float, size: int) -> bytes:
    """The bytes in front of a frame, which gets a cluster of its own.

    Args:
        time: seconds, at least 0.
        size: of the frame, bytes.
    """
    ticks = _number("e7", round(time * 1_000_000_000 / TICK))
    block = b"\x81\x00\x00\x80"  # track 1, at the cluster's time, a key frame
    simple = bytes.fromhex("a3") + struct.pack(">Q", 1 << 56 | (len(block) + size)) + block
    length = struct.pack(">Q", 1 << 56 | (len(ticks) + len(simple) + size))
    return bytes.fromhex("1f43b675") + length + ticks + simple
