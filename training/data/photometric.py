"""Photometric augmentation: what cameras, screens and encoders do to a picture."""

from __future__ import annotations

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray


def jitter_colour(image: NDArray[np.uint8], rng: np.random.Generator, strength: float = 1.0) -> NDArray[np.uint8]:
    """Gain per channel, gamma and saturation."""
    gain = np.exp(rng.normal(0, 0.12 * strength)) * np.exp(rng.normal(0, 0.05 * strength, 3))
    gamma = np.exp(rng.normal(0, 0.18 * strength))
    ramp = (np.arange(256) / 255.0) ** gamma
    table = (255 * ramp[:, None] * gain).clip(0, 255).astype(np.uint8)[None]
    out = cv2.LUT(image, table)
    if rng.random() < 0.5:
        grey = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        amount = float(rng.uniform(0.4, 1.5) if rng.random() < 0.9 else 0.0)
        out = cv2.addWeighted(out, amount, grey, 1 - amount, 0)
    return np.asarray(out, np.uint8)


def degrade(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Sometimes: blur, a lower resolution, sensor noise, JPEG."""
    height, width = image.shape[:2]
    kind = rng.random()
    if kind < 0.10:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6))), np.uint8)
    elif kind < 0.20:
        factor = float(rng.uniform(0.35, 0.9))
        small = cv2.resize(image, (int(width * factor), int(height * factor)), interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    if rng.random() < 0.15:
        noise = rng.normal(0, rng.uniform(2, 12), (height, width, 1)).astype(np.float32)
        image = (image + noise).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=int(rng.integers(25, 85)))
        image = np.asarray(simplejpeg.decode_jpeg(data, "RGB"), np.uint8)
    return image
