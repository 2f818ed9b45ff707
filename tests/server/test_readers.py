"""An answer of the gateway, read by the packages that its users have."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

ROOT = Path(__file__).resolve().parents[2]
QUERY = "/v1/analyze?confidence=0&max_people=3"

READ = """
import json, sys
import supervision
found = supervision.Detections.from_inference(json.load(sys.stdin))
print(json.dumps({
    "version": supervision.__version__,
    "xyxy": found.xyxy.tolist(),
    "confidence": found.confidence.tolist(),
    "names": found.data["class_name"].tolist(),
    "masks": [[list(map(int, m.shape)), int(m.sum()), *map(int, m.any(0).nonzero()[0][[0, -1]])] for m in found.mask],
}))
"""


def test_supervision(client: TestClient, photo_jpeg: bytes) -> None:
    default = ROOT / ".venv-supervision" / "bin" / "python"
    python = Path(os.environ.get("PRCNN_TEST_SUPERVISION_PYTHON", default))
    if not python.exists():
        pytest.skip("needs supervision in an environment of its own: make .venv-supervision/.ready")
    answer = client.post(QUERY, content=photo_jpeg)
    read = subprocess.run([python, "-c", READ], input=answer.content, capture_output=True, check=True).stdout
    found = json.loads(read)
    people = answer.json()["predictions"]
    np.testing.assert_allclose(found["xyxy"], [p["bbox"] for p in people], atol=0.01)
    np.testing.assert_allclose(found["confidence"], [p["confidence"] for p in people], atol=1e-6)
    assert found["names"] == ["person"] * 3
    for person, (shape, area, left, right) in zip(people, found["masks"], strict=True):
        assert shape == [512, 512]
        assert area == sum(part["area"] for part in person["parts"])
        # the mask lies where the box is, not in the corner of the picture
        assert person["bbox"][0] - 1 <= left <= right <= person["bbox"][2] + 1


def test_coco_tools(client: TestClient, photo_jpeg: bytes) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    mask = pytest.importorskip("pycocotools.mask")
    people = client.post(QUERY, content=photo_jpeg).json()["predictions"]
    results = [
        {
            "image_id": 1,
            "category_id": 1,
            "score": p["confidence"],
            "segmentation": p["rle"],
            "bbox": [p["bbox"][0], p["bbox"][1], p["width"], p["height"]],
        }
        for p in people
    ]
    truth = coco.COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": 1, "width": 512, "height": 512}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {**r, "id": n, "iscrowd": 0, "area": float(mask.area(r["segmentation"]))} for n, r in enumerate(results, 1)
        ],
    }
    truth.createIndex()
    for kind in ("segm", "bbox"):
        judged = evaluation.COCOeval(truth, truth.loadRes(results), kind)
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
        assert judged.stats[0] == pytest.approx(1)
    outline = np.asfortranarray(mask.decode(people[0]["rle"]))
    assert outline.shape == (512, 512)
    assert outline.sum() == sum(part["area"] for part in people[0]["parts"])
