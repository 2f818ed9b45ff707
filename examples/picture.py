"""Everybody in one picture: `python examples/picture.py photo.jpg overlay.png`."""

import sys
from pathlib import Path

from parsing_rcnn.codecs import image, png
from parsing_rcnn.errors import ParsingRCNNError
from parsing_rcnn_client import Client


def main(photo: str, result: str) -> None:
    picture = Path(photo).read_bytes()
    with Client.embedded() as client:  # or Client.connect("http://127.0.0.1:8080")
        people = client.analyze(picture)
    for box, score in zip(people.boxes, people.scores, strict=True):
        print(f"{score:.2f} at {box.round().astype(int).tolist()}")
    Path(result).write_bytes(png.encode_rgb(people.draw(image.decode(picture))))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (ParsingRCNNError, OSError) as error:
        sys.exit(f"error: {error}")
