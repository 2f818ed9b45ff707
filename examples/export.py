"""People for other libraries: `python examples/export.py photo.jpg people.json`.

Writes COCO results for pycocotools; with supervision installed, also makes `supervision.Detections` of them.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from parsing_rcnn.codecs.json import dumps
from parsing_rcnn.errors import ParsingRCNNError
from parsing_rcnn_client import Client


def main(photo: str, result: str) -> None:
    with Client.embedded() as client:
        people = client.analyze(Path(photo))
    Path(result).write_bytes(dumps(people.to_coco(image_id=1)))
    for chart in people.to_densepose():
        print(f"DensePose chart {chart.labels.shape} in {tuple(chart.box)}")
    if find_spec("supervision") is not None:
        detections = people.to_supervision()
        print(f"supervision: {len(detections)} detections at {detections.xyxy.round().tolist()}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (ParsingRCNNError, OSError) as error:
        sys.exit(f"error: {error}")
