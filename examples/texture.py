"""Clothes from one photo onto the people of another: `python examples/texture.py from.jpg onto.jpg dressed.png`.

Writes dressed.png, and dressed_atlas.png beside it: what the first photo shows of its surest person, part by part.
"""

import sys
from pathlib import Path

from PIL import Image

from parsing_rcnn import draw
from parsing_rcnn.codecs import image, png
from parsing_rcnn.errors import ParsingRCNNError
from parsing_rcnn_client import Client


def main(source: str, target: str, result: str) -> None:
    wearing, wanting = (image.decode(Path(photo).read_bytes()) for photo in (source, target))
    with Client.embedded() as client:  # or Client.connect("http://127.0.0.1:8080")
        model, people = client.analyze(wearing), client.analyze(wanting)
    if not len(model):
        sys.exit(f"nobody in {source}")
    atlas = draw.unwrap(wearing, model, index=0)
    print(f"{(atlas[..., 3] > 0).mean():.0%} of the atlas is filled by {source}; {len(people)} people in {target}")
    Image.fromarray(atlas).save(Path(result).with_name(Path(result).stem + "_atlas.png"))
    Path(result).write_bytes(png.encode_rgb(draw.texture(wanting, people, atlas)))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (ParsingRCNNError, OSError) as error:
        sys.exit(f"error: {error}")
