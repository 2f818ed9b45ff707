"""What is held out is not trained on, under whatever name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.sources import LabelledPhotos
from training.data.splits import CCP_TWINS, background_split, ccp_split


def test_a_photo_that_is_held_out_under_another_id_is_in_neither_part() -> None:
    names = [f"{number:04d}.jpg" for number in range(1, 1005)]  # those with labels, where two of the five are
    train, validation = ccp_split(names)
    assert not {f"{stem}.jpg" for stem in CCP_TWINS} & {*train, *validation}
    assert {f"{stem}.jpg" for stem in CCP_TWINS.values()} <= set(validation)
    assert len(train) + len(validation) + 2 == len(names)


def test_every_third_picture_without_people_is_held_out() -> None:
    names = [f"c{number}.jpg" for number in range(67)]
    train, validation = background_split(reversed(names))
    assert validation == sorted(names)[::3]
    assert len(validation) == 23
    assert sorted([*train, *validation]) == sorted(names)


def test_pseudo_labels_of_such_photos_are_left(tmp_path: Path) -> None:
    for stem in ("1074", "1075"):
        (tmp_path / f"{stem}.jpg").touch()
        cv2.imwrite(str(tmp_path / f"{stem}.png"), np.ones((4, 4), np.uint8))
    assert [path.stem for path in LabelledPhotos.open_pseudo(tmp_path, tmp_path).images] == ["1075"]


def test_no_photo_of_training_looks_like_one_of_validation(shared_data: Path) -> None:
    """All pairs of copies of 24x24 grey pixels."""
    photos = shared_data / "ccp"
    unlabelled = [p for p in sorted((photos / "unlabelled").glob("*.jpg")) if p.stem not in CCP_TWINS]
    train = looks([*LabelledPhotos.open(photos).images, *unlabelled])
    held_out = looks(LabelledPhotos.open(photos, validation=True).images)
    assert (held_out @ train.T).max() < 0.95
    twins = [photos / folder / f"{stem}.jpg" for stem in CCP_TWINS for folder in ("images", "unlabelled")]
    found = looks([path for path in twins if path.is_file()])
    assert len(found) == len(CCP_TWINS)
    assert sorted((held_out @ found.T).max(0))[1] > 0.95  # of one, another part of the photo is shown


def looks(paths: list[Path] | tuple[Path, ...]) -> NDArray[np.float64]:
    """Each photo as 576 grey values of mean 0 and length 1."""
    small = [
        cv2.resize(cv2.imread(str(p), cv2.IMREAD_REDUCED_GRAYSCALE_4), (24, 24), interpolation=cv2.INTER_AREA)
        for p in paths
    ]
    values = np.array(small, np.float64).reshape(len(small), -1)
    values -= values.mean(1, keepdims=True)
    return values / np.linalg.norm(values, axis=1, keepdims=True)
