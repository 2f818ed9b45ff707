"""Poses: rotations of the bones, forward kinematics and linear blend skinning."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.assets import BvhPose
from training.data.synthetic.body import Body

Rotations = dict[str, NDArray[np.float64]]
_FRONT = np.array([0.0, -1.0, 0.0])
_DOWN = np.array([0.0, 0.0, -1.0])
_SIDES = (("L", 1.0), ("R", -1.0))
# MakeHuman's axes (y up, facing +z) -> ours (z up, facing -y)
_AXES = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def rotation(axis: NDArray[np.float64] | tuple[float, float, float], degrees: float) -> NDArray[np.float64]:
    """Rotation [3,3] about an axis of any length."""
    direction = np.asarray(axis, np.float64)
    return np.asarray(cv2.Rodrigues(direction / np.linalg.norm(direction) * np.deg2rad(degrees))[0])


def transforms(body: Body, heads: NDArray[np.float32], pose: Rotations) -> NDArray[np.float32]:
    """Forward kinematics.

    Args:
        heads: float32 [b,3] where the bones of this shape begin.
        pose: rotation of a bone against its parent, in the axes of the rest pose; absent: none.

    Returns:
        float32 [b,3,4]: x -> M @ (x, 1) of what follows each bone.
    """
    count = len(body.bones)
    turned = np.zeros((count, 3, 3))
    placed = np.zeros((count, 3))
    for index, name in enumerate(body.bones):
        parent = body.parents[index]
        own = pose.get(name, np.eye(3))
        if parent < 0:
            turned[index], placed[index] = own, heads[index]
        else:
            turned[index] = turned[parent] @ own
            placed[index] = turned[parent] @ (heads[index] - heads[parent]) + placed[parent]
    offset = placed - np.einsum("bij,bj->bi", turned, heads)
    return np.concatenate([turned, offset[..., None]], 2).astype(np.float32)


@numba.njit(cache=True, fastmath=True)
def skin(
    points: NDArray[np.float32],
    index: NDArray[np.int32],
    weight: NDArray[np.float32],
    moves: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Linear blend skinning: points float32 [v,3], bones int32 [v,k], weights float32 [v,k], moves float32 [b,3,4]."""
    out = np.empty_like(points)
    for v in range(points.shape[0]):
        x, y, z = points[v, 0], points[v, 1], points[v, 2]
        for axis in range(3):
            total = np.float32(0.0)
            for k in range(index.shape[1]):
                m = moves[index[v, k], axis]
                total += weight[v, k] * (m[0] * x + m[1] * y + m[2] * z + m[3])
            out[v, axis] = total
    return out


def from_bvh(pose: BvhPose) -> Rotations:
    """Rotations of a MakeHuman pose file, whose joints have the names of the bones."""
    return {name: _AXES @ matrix @ _AXES.T for name, matrix in pose.rotations.items()}


class Poser:
    """Draws poses. The limits are anatomical and loose; the arms of the rest pose hang 45 degrees from the body."""

    def __init__(self, body: Body, files: dict[str, BvhPose]) -> None:
        self.body = body
        self.files = {name: from_bvh(pose) for name, pose in files.items()}
        self.styles: dict[str, tuple[float, Callable[[np.random.Generator], Rotations]]] = {
            "stand": (0.34, self._stand),
            "walk": (0.16, self._walk),
            "hands": (0.12, self._hands),
            "sit": (0.13, self._sit),
            "reach": (0.10, self._reach),
            "wild": (0.07, self._wild),
            "file": (0.08 if files else 0.0, self._file),
        }

    def draw(self, rng: np.random.Generator) -> tuple[str, Rotations]:
        """(name of the style, pose)."""
        names = list(self.styles)
        chances = np.array([self.styles[name][0] for name in names])
        name = str(rng.choice(names, p=chances / chances.sum()))
        return name, self.styles[name][1](rng)

    def _spine(self, rng: np.random.Generator, strength: float = 1.0) -> Rotations:
        bend, twist, lean = rng.normal(0, (5, 6, 4)) * strength
        half = rotation((1, 0, 0), bend) @ rotation((0, 0, 1), twist) @ rotation((0, 1, 0), lean)
        nod, turn, tilt = rng.normal(0, (7, 15, 5))
        neck = rotation((1, 0, 0), nod / 2) @ rotation((0, 0, 1), turn / 2) @ rotation((0, 1, 0), tilt / 2)
        return {"spine03": half, "spine01": half, "neck01": neck, "head": neck}

    def _arm(self, side: str, sign: float, lower: float, forward: float, elbow: float, twist: float = 0) -> Rotations:
        """Degrees: lower 45 hangs down and -90 points up; forward lifts to the front; the elbow bends to the front."""
        heads, bone = self.body.heads, self.body.bone
        forearm = (heads[bone(f"wrist.{side}")] - heads[bone(f"lowerarm01.{side}")]).astype(np.float64)
        upper = rotation((1, 0, 0), -forward) @ rotation((0, 1, 0), sign * lower)
        along = (heads[bone(f"lowerarm01.{side}")] - heads[bone(f"upperarm01.{side}")]).astype(np.float64)
        return {
            f"upperarm01.{side}": upper @ rotation(along, sign * twist),
            f"lowerarm01.{side}": rotation(np.cross(forearm, _FRONT), elbow),
        }

    def _leg(self, side: str, sign: float, flex: float, spread: float, knee: float) -> Rotations:
        """Degrees: flex lifts the thigh to the front, spread opens to the side, the knee bends to the back."""
        thigh = rotation((0, 1, 0), -sign * spread) @ rotation(np.cross(_DOWN, _FRONT), flex)
        return {f"upperleg01.{side}": thigh, f"lowerleg01.{side}": rotation(np.cross(_DOWN, -_FRONT), knee)}

    def _fingers(self, rng: np.random.Generator, side: str, sign: float) -> Rotations:
        curl = float(rng.uniform(5, 45))
        heads, bone = self.body.heads, self.body.bone
        out = {}
        for finger in range(2, 6):
            along = (heads[bone(f"finger{finger}-3.{side}")] - heads[bone(f"finger{finger}-1.{side}")]).astype(
                np.float64
            )
            axis = np.cross(along, (-sign, 0, -1.0))
            for joint in (1, 2, 3):
                out[f"finger{finger}-{joint}.{side}"] = rotation(axis, curl)
        return out

    def _hanging(self, rng: np.random.Generator) -> Rotations:
        pose: Rotations = {}
        for side, sign in _SIDES:
            bent = rng.random() < 0.3
            elbow = rng.uniform(30, 110) if bent else rng.uniform(3, 28)
            pose |= self._arm(side, sign, rng.uniform(26, 47), rng.uniform(-18, 22), elbow, rng.uniform(-20, 20))
            pose |= self._fingers(rng, side, sign)
        return pose

    def _stand(self, rng: np.random.Generator) -> Rotations:
        pose = self._spine(rng) | self._hanging(rng)
        for side, sign in _SIDES:
            flex = rng.uniform(-8, 12)
            pose |= self._leg(side, sign, flex, rng.uniform(-9, 3), max(0.0, flex) * 1.3 + rng.uniform(0, 6))
        return pose

    def _walk(self, rng: np.random.Generator) -> Rotations:
        pose = self._spine(rng) | self._hanging(rng)
        stride = rng.uniform(12, 38) * rng.choice((-1, 1))
        for side, sign in _SIDES:
            flex = sign * stride * rng.uniform(0.7, 1.1)
            knee = rng.uniform(2, 18) if flex > 0 else rng.uniform(8, 45)
            pose |= self._leg(side, sign, flex, rng.uniform(-9, -2), knee)
            pose |= self._arm(side, sign, rng.uniform(34, 47), -flex * rng.uniform(0.3, 1.0), rng.uniform(5, 60))
        return pose

    def _hands(self, rng: np.random.Generator) -> Rotations:
        """Hands on the hips, at the face, in front of the belly, in pockets."""
        pose = self._stand(rng)
        for side, sign in _SIDES:
            kind = rng.random()
            if kind < 0.35:  # on the hip
                pose |= self._arm(
                    side, sign, rng.uniform(8, 25), rng.uniform(-25, -5), rng.uniform(70, 105), rng.uniform(45, 90)
                )
            elif kind < 0.6:  # before the belly
                pose |= self._arm(
                    side, sign, rng.uniform(38, 47), rng.uniform(5, 30), rng.uniform(70, 110), rng.uniform(30, 75)
                )
            elif kind < 0.85:  # at the face
                pose |= self._arm(
                    side, sign, rng.uniform(30, 45), rng.uniform(25, 60), rng.uniform(100, 135), rng.uniform(-40, 10)
                )
        return pose

    def _sit(self, rng: np.random.Generator) -> Rotations:
        pose = self._spine(rng, 1.4) | self._hanging(rng)
        flex = rng.uniform(70, 100)
        spread = rng.uniform(0, 22)
        for side, sign in _SIDES:
            pose |= self._leg(side, sign, flex + rng.normal(0, 5), spread + rng.normal(0, 4), rng.uniform(55, 105))
            if rng.random() < 0.6:  # hands on the lap
                pose |= self._arm(
                    side, sign, rng.uniform(35, 47), rng.uniform(15, 45), rng.uniform(35, 80), rng.uniform(0, 45)
                )
        return pose

    def _reach(self, rng: np.random.Generator) -> Rotations:
        pose = self._walk(rng) if rng.random() < 0.4 else self._stand(rng)
        for side, sign in _SIDES:
            if rng.random() < 0.65:
                pose |= self._arm(
                    side, sign, rng.uniform(-75, 20), rng.uniform(-10, 60), rng.uniform(0, 80), rng.uniform(-40, 40)
                )
        return pose

    def _wild(self, rng: np.random.Generator) -> Rotations:
        pose = self._spine(rng, 3.0)
        for side, sign in _SIDES:
            pose |= self._arm(
                side, sign, rng.uniform(-85, 47), rng.uniform(-30, 100), rng.uniform(0, 130), rng.uniform(-60, 60)
            )
            flex = rng.uniform(-20, 95)
            pose |= self._leg(
                side, sign, flex, rng.uniform(-5, 40), max(0.0, flex) * rng.uniform(0.2, 1.2) + rng.uniform(0, 20)
            )
            pose |= self._fingers(rng, side, sign)
        return pose

    def _file(self, rng: np.random.Generator) -> Rotations:
        pose = dict(self.files[str(rng.choice(list(self.files)))])
        for name in ("neck01", "head"):
            pose[name] = pose.get(name, np.eye(3)) @ rotation((0, 0, 1), rng.normal(0, 10))
        return pose
