"""How many people are in each of many pictures, four at a time, through a running gateway:
`python examples/folder.py photos/ http://127.0.0.1:8080`.
"""

import sys
from pathlib import Path

from parsing_rcnn.errors import ParsingRCNNError
from parsing_rcnn_client import Client


def main(folder: str, gateway: str) -> None:
    pictures = sorted(Path(folder).glob("*.jpg"))
    if not pictures:
        sys.exit(f"error: {folder}: no *.jpg there: name a folder of photos")
    with Client.connect(gateway) as client:
        answers = client.analyze_many(pictures, in_flight=4, tasks=(), confidence=0.7)  # boxes are enough to count
        for path, people in zip(pictures, answers, strict=True):
            print(path.name, f"failed: {people}" if isinstance(people, Exception) else f"{len(people)} people")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (ParsingRCNNError, OSError) as error:
        sys.exit(f"error: {error}")
