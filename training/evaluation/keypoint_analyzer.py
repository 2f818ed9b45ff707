"""Keypoints of networks trained by the recipes `keypoints_*`, in torch alone: they are not exported or served."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs.picture import Picture
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Stopwatch
from training.data.sample import MIRRORED_KEYPOINTS
from training.engine import refuse_diverged
from training.evaluation.tta import AugmentedAnalyzer, unflip_parts
from training.model.answers import keypoint_answer


class KeypointAnalyzer(AugmentedAnalyzer):
    """A network with a keypoint head, with or without further views: implements `KeypointLocator`.

    Example:
        >>> weights = Path("runs/keypoints_r50/weights.safetensors")
        >>> analyzer = KeypointAnalyzer(*load_checkpoint(weights))  # doctest: +SKIP
        >>> people, keypoints = analyzer.locate(Path("photo.jpg").read_bytes())  # doctest: +SKIP
    """

    @torch.inference_mode()
    def locate(
        self,
        image: Picture,
        options: Options = Options(),  # noqa: B008
    ) -> tuple[People, NDArray[np.float32]]:
        """What `analyze` gives, and everybody's keypoints. The logits of several views are averaged.

        Returns:
            people; float32 [n,17,3]: x, y in pixels of the upright original, and a score (`keypoint_answer`).

        Raises:
            ParsingRCNNError: the image or an option is not usable.
            DivergedError: the weights give numbers that are not finite.
            ValueError: the network has no keypoint head.
        """
        watch = Stopwatch()
        views, features, boxes, scores, count = self.look(image, options, watch)
        answers = self.answers(views, features, options, watch)
        found = [self.model.keypoints(own) for own in features]
        turned = [
            unflip_parts(maps, MIRRORED_KEYPOINTS) if view.flipped else maps
            for view, maps in zip(views, found, strict=True)
        ]
        mean = torch.stack(turned).mean(0)
        refuse_diverged(mean)
        keypoints = keypoint_answer(mean, boxes)[:count].cpu().numpy()
        watch.lap("keypoints")
        window = views[0].window
        offset, scale = (window.pad_left, window.pad_top), (window.scale_x, window.scale_y)
        keypoints[..., :2] = (keypoints[..., :2] - np.array(offset, np.float32)) / np.array(scale, np.float32)
        return self.result(views, boxes[:count], scores[:count], answers, watch), keypoints
