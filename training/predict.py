"""The network in torch on one picture: for sheets and quick looks. Serving runs the exported graphs instead."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from parsing_rcnn.geometry import fit
from parsing_rcnn.people import People
from training.model.parsing_rcnn import ParsingRCNN

CANVASES = ((384, 640), (640, 384), (512, 512))


@torch.inference_mode()
def predict(model: ParsingRCNN, image: NDArray[np.uint8], confidence: float = 0.5, most: int = 16) -> People:
    """Find and parse everybody in an upright RGB picture uint8 [H,W,3]."""
    canvas, window = fit(image, CANVASES)
    pyramid = model.pyramid(torch.from_numpy(canvas).permute(2, 0, 1)[None])
    found = model.detect(pyramid, (canvas.shape[0], canvas.shape[1]))
    keep = torch.nonzero(found.scores >= confidence)[:most, 0]
    boxes, scores = found.boxes[keep], found.scores[keep]
    parts = np.zeros((0, 128, 128), np.uint8)
    if len(keep):
        logits = model.parsing(model.roi_features(pyramid, [boxes]))
        parts = logits.argmax(1).to(torch.uint8).numpy()
    return People(boxes=window.to_image(boxes.numpy()), scores=scores.numpy(), image_size=image.shape[:2], parts=parts)
