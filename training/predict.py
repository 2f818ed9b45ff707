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
    """Find everybody in an upright RGB picture uint8 [H,W,3], with parts and IUV."""
    canvas, window = fit(image, CANVASES)
    pyramid = model.pyramid(torch.from_numpy(canvas).permute(2, 0, 1)[None])
    found = model.detect(pyramid, (canvas.shape[0], canvas.shape[1]))
    keep = torch.nonzero(found.scores >= confidence)[:most, 0]
    boxes, scores = found.boxes[keep], found.scores[keep]
    side = 4 * model.config.branch.roi_size
    parts, iuv = np.zeros((0, side, side), np.uint8), np.zeros((0, 3, side, side), np.uint8)
    if len(keep):
        features = model.roi_features(pyramid, [boxes])
        parts = model.parsing(features).argmax(1).to(torch.uint8).numpy()
        _, index, u, v = model.densepose(features)
        part = index.argmax(1, keepdim=True)
        uv = [(plane.gather(1, part) * 255).round().clamp(0, 255) * (part > 0) for plane in (u, v)]
        iuv = torch.cat([part, *uv], 1).to(torch.uint8).numpy()
    image_size = (image.shape[0], image.shape[1])
    return People(window.to_image(boxes.numpy()), scores.numpy(), image_size, parts=parts, iuv=iuv)
