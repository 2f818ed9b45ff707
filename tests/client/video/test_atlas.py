"""`--atlas`: a picture of a texture, as `draw.unwrap` and examples/texture.py write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from parsing_rcnn import draw
from parsing_rcnn.cli import build
from parsing_rcnn.codecs.image import decode
from parsing_rcnn.errors import ImageTooLarge, InvalidImage, InvalidOptions, UnsupportedImage
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client.cli.options import LookChoice
from parsing_rcnn_client.video.atlas import read_atlas
from parsing_rcnn_client.video.ffmpeg import FFmpegReader


def saved(path: Path, pixels: NDArray[np.uint8], mode: str | None = None) -> bytes:
    picture = Image.fromarray(pixels)
    picture = picture if mode is None else picture.convert(mode)
    picture.save(path, lossless=True)
    return path.read_bytes()


def squares() -> NDArray[np.uint8]:
    """Three rows red, one of them half; three rows transparent, whatever colour lies there."""
    atlas = np.full((6, 4, 4), (200, 30, 40, 255), np.uint8)
    atlas[2, :, 3], atlas[3:, :, 3] = 128, 0
    return atlas


@pytest.mark.parametrize("name", ["atlas.png", "atlas.webp"])
def test_what_is_transparent_stays_so(tmp_path: Path, name: str) -> None:
    atlas = read_atlas(saved(tmp_path / name, squares()))
    np.testing.assert_array_equal(atlas[:, :, 3], squares()[:, :, 3])
    np.testing.assert_array_equal(atlas[:3], squares()[:3])


@pytest.mark.parametrize("mode", ["P", "LA"])
def test_whatever_kind_of_picture_it_is(tmp_path: Path, mode: str) -> None:
    atlas = read_atlas(saved(tmp_path / "atlas.png", squares(), mode))
    np.testing.assert_array_equal(atlas[:, :, 3] > 0, squares()[:, :, 3] > 0)


def test_without_transparency_black_shows_the_person(tmp_path: Path) -> None:
    atlas = squares()
    atlas[3:] = 0
    atlas[:, :, 3] = 255
    for name, pixels in (("rgba.png", atlas), ("rgb.png", atlas[:, :, :3])):
        saved(tmp_path / name, pixels)
        texels = LookChoice(layers="texture", atlas=tmp_path / name).look().texels
        assert texels is not None
        np.testing.assert_array_equal(texels[:, :, 3] > 0, atlas[:, :, 0] > 0)
    assert read_atlas(saved(tmp_path / "rgb.jpg", atlas[:, :, :3])).shape == (6, 4, 3)


def test_it_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    Image.fromarray(squares()[::-1, ::-1]).save(tmp_path / "atlas.png", exif=upside_down)
    np.testing.assert_array_equal(read_atlas((tmp_path / "atlas.png").read_bytes())[:, :, 3], squares()[:, :, 3])


def test_what_is_wrong_with_it_is_said(tmp_path: Path) -> None:
    wide = np.zeros((1, 16385, 4), np.uint8)
    whole = saved(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 255, (60, 40, 4), np.uint8))
    for data, error in (
        (saved(tmp_path / "wide.png", wide), ImageTooLarge),
        (whole[: len(whole) // 2], InvalidImage),
        (b"BM no picture of ours", UnsupportedImage),
    ):
        (tmp_path / "atlas").write_bytes(data)
        with pytest.raises(error):
            LookChoice(layers="texture", atlas=tmp_path / "atlas").look()
    with pytest.raises(InvalidOptions, match="none: No such file"):
        LookChoice(layers="texture", atlas=tmp_path / "none").look()


def test_annotate_dresses_people_as_draw_does(clip: Path, photo: Path, tmp_path: Path) -> None:
    """In what the upper half of the photo shows of them: the rest of the atlas is transparent."""
    image, atlas, out = decode(photo.read_bytes()), tmp_path / "atlas.png", tmp_path / "dressed.mp4"
    with_clothes = image[:250, :, ::-1]  # of other colours
    pipeline = Pipeline(threads=1)
    try:
        texture = draw.unwrap(np.ascontiguousarray(with_clothes), pipeline.analyze(image[:250]), index=0)
        people = pipeline.analyze(image)
    finally:
        pipeline.close()
    saved(atlas, texture)
    assert 0.02 < (texture[:, :, 3] > 0).mean() < 0.6
    arguments = ["annotate", str(clip), "-o", str(out), "--layers", "texture", "--atlas", str(atlas), "--no-smooth"]
    done = CliRunner().invoke(build(), [*arguments, "--threads", "1"])
    assert done.exit_code == 0, done.output
    reader = FFmpegReader(str(out))
    try:
        shown = next(iter(reader)).image.astype(int)
    finally:
        reader.close()
    wanted = draw.texture(image, people, texture).astype(int)
    body = people.iuv_map()[0][:, :, 0] > 0
    bare = body & (wanted == image).all(axis=2)
    assert (body & ~bare).sum() > 5_000
    assert bare.sum() > 5_000
    assert np.abs(shown - wanted)[bare].mean() < 8  # white is 150 away
    assert np.abs(shown - wanted)[body & ~bare].mean() < 25
