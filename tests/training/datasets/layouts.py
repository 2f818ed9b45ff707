"""Two people in small pictures, from which the folders of `conftest.py` are made, and the command that checks them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from typer.testing import CliRunner

from parsing_rcnn.cli import build

SIZE = (40, 60)


def two_people() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(classes, people): person 1 with hair and clothes, person 2 in a dress."""
    parts, human = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    parts[4:10, 6:16], parts[10:30, 4:18] = 2, 5
    human[4:30, 4:18] = np.where(parts[4:30, 4:18] > 0, 1, 0)
    parts[8:36, 30:44], human[8:36, 30:44] = 6, 2
    return parts, human


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*SIZE, 3), 128, np.uint8))


def save(path: Path, array: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), array)


def per_person() -> list[NDArray[np.uint8]]:
    parts, human = two_people()
    return [np.where(human == k, parts, 0).astype(np.uint8) for k in (1, 2)]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(build(), ["datasets", "check", *arguments])
    return result.exit_code, result.output
