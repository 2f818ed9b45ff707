"""Cuts what comes of a stream into what its parser is fed, so that a long frame is parsed when it is complete.

The parser's buffer would grow with each piece, beside those of other streams, and leave holes in the heap of twice the
size of all frames.
"""

from __future__ import annotations

from server.requests.pieces import Pieces

_LONG = 64 * 1024  # bytes of a payload, above which it is gathered here


class Frames:
    """Where one stream is in its frames (RFC 6455, 5.2)."""

    def __init__(self) -> None:
        self._header = bytearray()  # of the frame that begins
        self._missing = 0  # bytes of its payload
        self._long: Pieces | None = None  # its payload, if it is long

    def cut(self, come: bytearray, most: int) -> tuple[bytes, int]:
        """Take the next bytes.

        Args:
            come: what has come, and is not taken.
            most: the most bytes of a payload that are taken.

        Returns:
            What the parser is fed, b"" while a long payload is not complete, and how many bytes were taken.
        """
        wanted = min(self._missing, most) or _size(self._header) - len(self._header)
        piece = bytes(come[:wanted])
        del come[:wanted]
        if not self._missing:
            self._begin(piece)
            return piece, len(piece)
        self._missing -= len(piece)
        if self._long is None:
            return piece, len(piece)
        self._long.add(piece)
        if self._missing:
            return b"", len(piece)
        whole, self._long = self._long.take(), None
        return whole, len(piece)

    def _begin(self, piece: bytes) -> None:
        self._header += piece
        if len(self._header) < _size(self._header):
            return
        size = self._header[1] & 127
        more = {126: 2, 127: 8}.get(size, 0)
        self._missing = int.from_bytes(self._header[2 : 2 + more], "big") if more else size
        self._long = Pieces() if self._missing > _LONG else None
        self._header.clear()


def _size(header: bytearray) -> int:
    """Bytes of a header, of which these have come: the second byte says how many there are."""
    if len(header) < 2:
        return 2
    return 2 + {126: 2, 127: 8}.get(header[1] & 127, 0) + (4 if header[1] & 128 else 0)
