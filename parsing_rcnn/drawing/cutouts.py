"""People cut out of their photo: in their box, or with nothing around them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs.picture import Picture, load, misfit, pixels
from parsing_rcnn.maps.overlaps import assign_contested_pixels
from parsing_rcnn.maps.paste import PixelWindow, interpolate, pixel_window, soften
from parsing_rcnn.people import People

_BAND = 1 << 20
"""Pixels processed at a time, which take about 30 MB."""

_INWARDS = 2.0
"""Pixels from the edge inwards to where a colour is the person's own: at the edge, cameras mix in the background."""


def original(image: Picture, people: People, takes: str = "image, people", *, bgr: bool = False) -> NDArray[np.uint8]:
    """The picture that people were found in, uint8 [H,W,3] RGB: an array as it is, anything else decoded.

    Args:
        image: as `analyze` took it.
        people: found in it.
        takes: the caller's arguments in their order, for the message to those who exchange them.
        bgr: the image is a BGR array, as OpenCV has it.

    Raises:
        InvalidOptions: `bgr`, and it is no array.
        ParsingRCNNError: no picture, or one that cannot be read.
        TypeError: `people` is no `People`, as when the two are given in the wrong order.
        ValueError: it is not uint8 RGB of the people's image_size.
    """
    check_people(people, takes, image)
    size = people.image_size
    found = channels(image, bgr) if isinstance(image, np.ndarray) else pixels(load(image, bgr=bgr), size)
    if found.dtype == np.uint8 and found.shape == (*size, 3):
        return found
    remedy = misfit(found)
    if remedy is None and found.shape[:2] == size[::-1]:
        remedy = "this one lies on its side, and `parsing_rcnn.codecs.image.decode` turns files as their EXIF says"
    raise ValueError(
        f"the image is {found.dtype} {found.shape}, the people were found in one of uint8 {(*size, 3)}: "
        + (remedy or "give that one, at its own size")
    )


def channels(picture: NDArray[np.uint8], bgr: bool) -> NDArray[np.uint8]:
    """A picture uint8 [H,W,3 or 4]: as it is or, with `bgr`, with red and blue exchanged."""
    if not bgr or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (3, 4) or not picture.size:
        return picture  # the function that uses it says what is wrong
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA))


def check_people(people: People, takes: str = "people", image: object = None) -> None:
    """Check the type of `people`.

    Raises:
        TypeError: it is something else than `People`.
    """
    if not isinstance(people, People):
        turned = "the other way round: " if isinstance(image, People) else ""
        raise TypeError(f"{turned}this takes ({takes}), and {type(people).__name__} is no People")


def everybody(image: NDArray[np.uint8], people: People) -> NDArray[np.uint8]:
    """All people and nothing around them, uint8 [H,W,4] RGBA: see `parsing_rcnn.draw.cutout`."""
    canvas = np.zeros((*people.image_size, 4), np.uint8)
    for index in range(len(people)):
        target, own = canvas[people.window(index).slices], _alone(image, people, index)
        cv2.copyTo(own, np.asarray(own[..., 3] > target[..., 3]).view(np.uint8), target)
    return canvas


def cut(
    image: Picture, people: People, index: int, margin: float = 0.0, transparent: bool = False, bgr: bool = False
) -> NDArray[np.uint8]:
    """One person's picture: see `parsing_rcnn.people.People.cut`."""
    image = original(image, people, bgr=bgr)
    if not 0 <= margin < np.inf:
        raise ValueError(f"margin is {margin}: a share of the box's sides, 0 or more, 0.1 for example")
    x1, y1, x2, y2 = people.boxes[index].tolist()
    across, down = margin * (x2 - x1), margin * (y2 - y1)
    around = pixel_window(np.array([x1 - across, y1 - down, x2 + across, y2 + down]), people.image_size)
    if not transparent:
        return channels(image[around.slices].copy(), bgr)
    own, window = _alone(image, people, index), people.window(index)
    own[_lost(people, index)] = 0
    canvas = np.zeros((*around.shape, 4), np.uint8)
    canvas[around.slices_of(window)] = own
    return channels(canvas, bgr)


def beside(people: People, index: int) -> tuple[People, int]:
    """(one of the people and everybody who may share pixels with them, the index of that person among these)."""
    left, top, right, bottom = people.window(index)
    x1, y1, x2, y2 = people.boxes.T
    near = (x1 <= right + 1) & (x2 >= left - 1) & (y1 <= bottom + 1) & (y2 >= top - 1)
    near[index] = True  # their box may lie outside of the picture
    return people.select(near), int(np.count_nonzero(near[:index]))


def _lost(people: People, index: int) -> NDArray[np.bool_]:
    """Where somebody else is in front of one of the people: bool [h,w] over their window."""
    few, own = beside(people, index)
    masks = [few.mask(i)[0] for i in range(len(few))]
    before = masks[own].copy()
    assign_contested_pixels(few, masks)
    return before & ~masks[own]


def _alone(image: NDArray[np.uint8], people: People, index: int) -> NDArray[np.uint8]:
    """One person over their window, uint8 [h,w,4] RGBA."""
    inside, window = _inside(people, index), people.window(index)
    found = np.empty((*window.shape, 4), np.uint8)
    rows = max(_BAND // window.shape[1], 1)
    for top in range(window.top, window.bottom, rows):
        band = PixelWindow(window.left, top, window.right, min(top + rows, window.bottom))
        found[top - window.top : band.bottom - window.top] = _strip(image, inside, people.boxes[index], band)
    return found


def _inside(people: People, index: int) -> NDArray[np.float32]:
    """A map float32 [S,S] that is above 0.5 where the person is."""
    charts = people.iuv is not None and "parsing" not in people.silhouette_tasks
    if people.part_probs is not None and not (charts and "parsing" in people.untrained):
        probabilities = people.part_probs[index].astype(np.float32)
        return np.asarray(0.5 + (probabilities[1:].max(axis=0) - probabilities[0]) / 510, np.float32)
    cells = people.iuv_cells(index)[0] if charts or people.parts is None else people.parts[index]
    return soften((cells > 0).astype(np.float32))


def _strip(
    image: NDArray[np.uint8], inside: NDArray[np.float32], box: NDArray[np.float32], band: PixelWindow
) -> NDArray[np.uint8]:
    """A band of one person, uint8 [h,w,4] RGBA.

    Opacity follows the distance to the edge, which is the distance in value over the slope, as in `isolines`.
    """
    around = PixelWindow(band.left - 1, band.top - 1, band.right + 1, band.bottom + 1)
    values = interpolate(inside, box, around)
    slopes = [cv2.Sobel(values, cv2.CV_32F, *axis, scale=1 / 8)[1:-1, 1:-1] for axis in ((1, 0), (0, 1))]
    slope = np.maximum(cv2.magnitude(*map(np.ascontiguousarray, slopes)), np.float32(1e-3))
    opacity = np.clip((values[1:-1, 1:-1] - np.float32(0.5)) / slope + np.float32(0.5), 0, 1)
    found = np.empty((*band.shape, 4), np.uint8)
    found[..., :3] = image[band.slices]
    found[..., 3] = np.rint(opacity * 255)
    rows, columns = np.nonzero((found[..., 3] > 0) & (found[..., 3] < 255))
    steps = [np.rint(_INWARDS * own[rows, columns] / slope[rows, columns]).astype(np.intp) for own in slopes]
    x = (columns + steps[0] + band.left).clip(0, image.shape[1] - 1)
    y = (rows + steps[1] + band.top).clip(0, image.shape[0] - 1)
    found[rows, columns, :3] = image[y, x]
    found[found[..., 3] == 0] = 0  # so that nobody can bring the background back
    return found
