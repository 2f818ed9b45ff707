"""Coverage-guided fuzzing of what reads bytes from outside, by Atheris (in an environment of its own).

    make .venv-atheris/.ready
    PYTHONPATH=. .venv-atheris/bin/python tests/server/fuzz/readers.py -max_total_time=120

Options are libFuzzer's. It ends with a trace, and the input in a file `crash-*`, when a reader raises anything but its
own errors, or says of a picture what cannot be.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["parsing_rcnn.codecs", "server.inference_protocol"]):
    from parsing_rcnn.codecs import rle
    from parsing_rcnn.codecs.header import peek
    from parsing_rcnn.codecs.image import ImageLimits, decode
    from server.inference_protocol import parse

from parsing_rcnn.errors import ParsingRCNNError
from tests.server.fuzz.cases import pictures

LIMITS = ImageLimits(max_pixels=100_000, max_side=2000)
OUTPUTS = ("BOXES", "SCORES", "PARTS")
TENSOR = b'{"inputs":[{"name":"IMAGE","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":7}}]}'


def header(data: bytes) -> None:
    """A header is read, or refused."""
    found = peek(data)
    assert min(found.width, found.height) > 0, found
    assert 1 <= found.orientation <= 8, found
    image = decode(data, LIMITS)
    turned = found.orientation >= 5
    assert image.shape[:2] == ((found.width, found.height) if turned else (found.height, found.width))


def tensors(data: bytes) -> None:
    """A request of /v2: four characters of Inference-Header-Content-Length (zeros: it is not sent), and the body."""
    length, body = data[:4].decode("latin-1"), data[4:]
    request = parse(body, length if length.strip("\0") else None, OUTPUTS)
    assert len(request.image) <= len(body)


def runs(data: bytes) -> None:
    """Run lengths of a mask."""
    height, width = data[0] + 1, data[1] + 1
    try:
        mask = rle.decode({"size": [height, width], "counts": data[2:].decode("latin-1")})
    except ValueError:
        return
    assert mask.shape == (height, width)
    again = rle.encode(mask)
    assert (rle.decode(again) == mask).all()


KINDS = (header, tensors, runs)


def one(data: bytes) -> None:
    """One input: its first byte says which reader gets the rest."""
    if len(data) < 6:
        return
    with suppress(ParsingRCNNError):
        KINDS[data[0] % len(KINDS)](data[1:])


def main() -> None:
    """Begin from pictures of every kind, a request and a mask."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = [b"\0" + data for _, data in pictures()]
        seeds += [b"\1" + b"%04d" % len(TENSOR) + TENSOR + b"\3\0\0\0abc", b"\2" + bytes((4, 3)) + b"52203"]
        for number, seed in enumerate(seeds):
            Path(folder, f"{number:02d}").write_bytes(seed)
        atheris.Setup([*sys.argv, folder], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
