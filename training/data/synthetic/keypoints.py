"""The 17 keypoints of COCO on our bodies, and where a camera sees them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.body import Body
from training.data.synthetic.raster import Hits
from training.data.synthetic.shading import Camera

NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
SKELETON = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip
"""COCO's list of limbs, counted from 1."""

_BONES = {"shoulder": "upperarm01", "elbow": "lowerarm01", "wrist": "wrist", "hip": "upperleg01", "knee": "lowerleg01",
          "ankle": "foot", "eye": "eye"}  # fmt: skip
_DEEP = np.array([0.05] * 5 + [0.14] * 12, np.float32)  # metres under what is seen there: the face's points, the joints


def place(
    body: Body, heads: NDArray[np.float32], moves: NDArray[np.float32], posed: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Keypoints of a posed person: joints are where bones begin, nose and ears lie on the skin.

    Args:
        heads: float32 [b,3] where the bones of this shape begin; moves: float32 [b,3,4] of `transforms`.
        posed: float32 [19158,3] vertices of `skin`.

    Returns:
        float32 [17,3] metres, in the order of `NAMES`.
    """
    nose, ears = _face(body)
    points = np.empty((len(NAMES), 3), np.float32)
    for row, name in enumerate(NAMES):
        if name == "nose":
            points[row] = posed[nose]
            continue
        side, joint = name.split("_")
        if joint == "ear":
            points[row] = posed[ears[side]]
        else:
            bone = body.bone(f"{_BONES[joint]}.{'L' if side == 'left' else 'R'}")
            points[row] = moves[bone] @ np.append(heads[bone], 1)
    return points


def _face(body: Body) -> tuple[int, dict[str, int]]:
    """Vertices of the nose's tip and of the ears: the foremost and the outermost skin about the height of the eyes."""
    used = body.faces.ravel()
    points = body.template[used]
    eye = body.heads[body.bone("eye.L")]
    below = eye[2] - points[:, 2]
    middle = (np.abs(points[:, 0]) < 0.01) & (below > 0) & (below < 0.06)
    nose = used[middle][points[middle, 1].argmin()]
    level = np.abs(below) < 0.05
    ears = {"left": int(used[level][points[level, 0].argmax()]), "right": int(used[level][points[level, 0].argmin()])}
    return int(nose), ears


def see(
    points: NDArray[np.float32], person: int, camera: Camera, instance: NDArray[np.uint8], hits: Hits
) -> NDArray[np.float32]:
    """Where a camera has keypoints.

    Args:
        points: float32 [17,3] in the world; person: the value of `instance` (uint8 [H,W]) that is this person.
        hits: what each pixel shows.

    Returns:
        float32 [17,3]: x, y in pixels and COCO's visibility: 2 seen, 1 hidden by something, 0 (and x = y = 0) outside.
    """
    height, width = instance.shape
    x, y, depth = camera.project(points).T
    inside = (depth > 0.05) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    column, row = x[inside].astype(int), y[inside].astype(int)
    seen = (instance[row, column] == person) & (depth[inside] - hits.depth[row, column] < _DEEP[inside])
    found = np.zeros((len(points), 3), np.float32)
    found[inside] = np.stack([x[inside], y[inside], 1 + seen], 1)
    return found
