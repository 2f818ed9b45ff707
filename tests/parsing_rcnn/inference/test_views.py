"""A region of a picture: what the network sees of it, and the people in it in pixels of the whole picture."""

from __future__ import annotations

import io
import threading
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from export.rendered.pictures import render_scene
from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs.image import ImageLimits
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.inference.views import Source, placed, useful_side
from parsing_rcnn.limits import MAX_TILES
from parsing_rcnn.pipeline import GraphPipeline, Pipeline
from parsing_rcnn.stopping import Stopped, stoppable
from parsing_rcnn.taxonomy import CIHP

CANVASES = ((64, 96), (96, 64))


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    return render_scene(3, 480, 640, 4)


def test_a_region_fills_the_canvas_and_lies_where_it_is_in_the_picture() -> None:
    picture = np.zeros((200, 400, 3), np.uint8)
    picture[100:140, 300:360] = 255
    source = Source(picture, ImageLimits())
    canvas, window = placed(picture, source, Options(region=(280, 80, 376, 144)), CANVASES)
    assert canvas.shape == (64, 96, 3)  # one to one
    rows, columns = np.nonzero(canvas[..., 0] == 255)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (20, 60, 20, 80)
    np.testing.assert_allclose(window.to_image(np.array([[20, 20, 80, 60]])), [[300, 100, 360, 140]], atol=1e-3)
    assert window.to_image(np.array([[-9, -9, 200, 200]]), (280, 80, 376, 144)).tolist() == [[280, 80, 376, 144]]


def test_of_a_region_twice_as_much_is_decoded_as_the_canvas_shows() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4000, 2000)).save(buffer, "JPEG")
    source = Source(buffer.getvalue(), ImageLimits())
    assert useful_side(source, Options(), CANVASES) == 96
    assert useful_side(source, Options(region=(0, 0, 1920, 1280)), CANVASES) == 2 * 4000 * 96 // 1920
    assert useful_side(source, Options(region=(0, 0, 96, 64)), CANVASES) is None
    assert useful_side(source, Options(region=(0, 0, 96, 64), max_side=500), CANVASES) == 500
    assert source.decoded(400) is source.decoded(400)


@pytest.mark.parametrize("encoded", [True, False])
def test_the_people_of_a_region_are_those_of_the_piece_cut_out(
    pipeline: Pipeline, street: np.ndarray, encoded: bool
) -> None:
    region = (160, 100, 480, 470)
    piece = np.ascontiguousarray(street[100:470, 160:480])
    picture = cv2.imencode(".png", street[..., ::-1])[1].tobytes() if encoded else street
    found, alone = pipeline.analyze(picture, region=region), pipeline.analyze(piece)
    assert len(found) == len(alone) >= 2
    np.testing.assert_allclose(found.boxes - [160, 100, 160, 100], alone.boxes, atol=0.01)
    np.testing.assert_array_equal(found.parts, alone.parts)
    np.testing.assert_array_equal(found.iuv, alone.iuv)
    labels = found.label_map()
    assert labels.shape == (480, 640)
    np.testing.assert_array_equal(labels[100:470, 160:480], alone.label_map())
    labels[100:470, 160:480] = 0
    assert not labels.any()


def test_a_region_of_a_turned_jpeg_is_in_upright_pixels(pipeline: Pipeline, street: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(street))).save(buffer, "JPEG", quality=98, exif=exif)
    region = (160, 0, 480, 480)
    turned, upright = (pipeline.analyze(picture, region=region, tasks="") for picture in (buffer.getvalue(), street))
    assert len(turned) == len(upright) >= 2
    np.testing.assert_allclose(turned.boxes, upright.boxes, atol=6)


def test_two_sizes_of_a_region(pipeline: Pipeline, street: np.ndarray) -> None:
    region = (160, 100, 480, 470)
    piece = np.ascontiguousarray(street[100:470, 160:480])
    found = pipeline.analyze(street, region=region, model="accurate")
    alone = pipeline.analyze(piece, model="accurate")
    np.testing.assert_allclose(found.boxes - [160, 100, 160, 100], alone.boxes, atol=0.01)
    np.testing.assert_array_equal(found.parts, alone.parts)


@pytest.mark.parametrize("tiles", [1, 2])
def test_a_region_beyond_the_picture_is_refused(pipeline: Pipeline, street: np.ndarray, tiles: int) -> None:
    says = r"region: 0,0,641,480 reaches beyond the picture of 640x480 pixels: give x1,y1,x2,y2 inside of it"
    with pytest.raises(InvalidOptions, match=says):
        pipeline.analyze(street, region=(0, 0, 641, 480), tiles=tiles)
    with pytest.raises(InvalidOptions, match="reaches beyond"):
        pipeline.analyze(street, region=(0, 0, 640, 481), tiles=tiles)
    assert len(pipeline.analyze(street, region=(639, 479, 640, 480), tiles=tiles)) == 0


def test_a_picture_is_not_decoded_for_a_region_beyond_it(pipeline: Pipeline, street: np.ndarray) -> None:
    cut_off = cv2.imencode(".png", street)[1].tobytes()[:60_000]
    with pytest.raises(InvalidOptions, match="reaches beyond the picture of 640x480"):
        pipeline.analyze(cut_off, region=(0, 0, 641, 480))


def test_tiles_that_nobody_waits_for_are_not_looked_at(pipeline: Pipeline, street: np.ndarray) -> None:
    """Whoever gives it up in the third of five detections waits for no fourth."""
    given_up, seen = threading.Event(), []
    detector = pipeline.graphs.detector

    class Graphs:
        def __getattr__(self, name: str) -> Any:
            return getattr(pipeline.runtime, name)

        def detector(self, *given: Any) -> Any:
            seen.append(given)
            if len(seen) == 3:
                given_up.set()
            return detector(*given)

    watched = GraphPipeline(Graphs(), pipeline.info, CIHP)  # type: ignore[arg-type]
    with pytest.raises(Stopped), stoppable(given_up):
        watched.analyze(street, tiles=2)
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("region", "says"),
    [
        ("1,2,3", "is not x1,y1,x2,y2 in whole pixels"),
        ("1,2,3,4,5", "is not x1,y1,x2,y2"),
        ("a,b,c,d", "is not x1,y1,x2,y2"),
        ((0.5, 0, 3, 3), "is not x1,y1,x2,y2"),
        (7, "is not x1,y1,x2,y2"),
        (b"1,2,3,4", "is not x1,y1,x2,y2"),
        ((10, 0, 10, 5), "10,0,10,5 has no pixels"),
        ((0, 9, 10, 5), "has no pixels"),
        ((0, 0, 10**400, 5), "an edge is beyond 1000000 pixels, which no picture has"),
        ("-1,0,10,5", "has no pixels of a picture: x1,y1,x2,y2 are its left, upper, right and lower edge, from 0 on"),
    ],
)
def test_what_is_no_region_is_refused(region: object, says: str) -> None:
    with pytest.raises(InvalidOptions, match=f"^region: .*{says}"):
        Options(region=region)  # type: ignore[arg-type]


def test_a_region_is_four_numbers_of_any_kind() -> None:
    for given in ("1, 2,30 ,40", (1, 2, 30, 40), ["1", "2", "30", "40"], np.array([1, 2, 30, 40], np.int64)):
        assert Options(region=given).region == (1, 2, 30, 40)  # type: ignore[arg-type]


@pytest.mark.parametrize("tiles", [0, MAX_TILES + 1, 1.5])
def test_tiles_are_one_to_four(pipeline: Pipeline, street: np.ndarray, tiles: int) -> None:
    with pytest.raises(InvalidOptions, match=r"tiles: .* 1\.\.4"):
        pipeline.analyze(street, tiles=tiles)
