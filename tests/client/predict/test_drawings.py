"""What `predict` draws, and what of it a later run takes for done."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from parsing_rcnn import draw
from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.cli import build
from parsing_rcnn.codecs import png
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn_client.predict.drawings import Drawings
from parsing_rcnn_client.predict.outputs import is_done, is_output, write_outputs
from parsing_rcnn_client.predict.predicting import predict_all
from parsing_rcnn_client.predict.sources import Source

SIZE = (120, 160)
NOISE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
FACE, COAT = 13, 7
OPTIONS = Options(frozenset({"parsing", "densepose"}))


def people(scores: tuple[float, ...] = (0.9, 0.6, 0.2)) -> People:
    """Side by side, each with a face at the top of a coat."""
    parts = np.full((3, 32, 32), COAT, np.uint8)
    parts[:, :8, 8:24] = FACE
    iuv = np.full((3, 3, 32, 32), 2, np.uint8)
    boxes = np.array([[x, 10, x + 40, 110] for x in (5, 55, 105)], np.float32)
    everybody = People(boxes, np.array([0.9, 0.6, 0.2], np.float32), SIZE, parts, iuv=iuv)
    return everybody.select(np.isin(everybody.scores, np.array(scores, np.float32)))


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_overlay_is_as_ever_unless_layers_are_named(tmp_path: Path) -> None:
    who = people()
    write_outputs(tmp_path / "a", who, NOISE)
    np.testing.assert_array_equal(pixels(tmp_path / "a_overlay.png"), draw.overlay(NOISE, who))
    write_outputs(tmp_path / "a", who, NOISE, drawings=Drawings(("iuv",)))
    np.testing.assert_array_equal(pixels(tmp_path / "a_overlay.png"), draw.iuv(who, NOISE))
    write_outputs(tmp_path / "a", who, NOISE, drawings=Drawings(("contours", "boxes")))
    bare = People(who.boxes, who.scores, SIZE)
    np.testing.assert_array_equal(pixels(tmp_path / "a_overlay.png"), draw.overlay(draw.contours(NOISE, who), bare))
    for name, picture in (("charts", draw.charts), ("u", draw.u), ("v", draw.v)):
        write_outputs(tmp_path / "a", who, NOISE, drawings=Drawings((name,)))
        np.testing.assert_array_equal(pixels(tmp_path / "a_overlay.png"), picture(NOISE, who))
        with pytest.raises(InvalidOptions, match=rf"the layer {name} needs the task densepose"):
            Drawings((name,)).require(frozenset({"parsing"}))
        with pytest.raises(InvalidOptions, match=rf"the layer {name} needs the task densepose, whose head"):
            Drawings((name,)).require_trained(frozenset({"densepose"}))


def test_with_anonymise_no_picture_shows_a_face(tmp_path: Path) -> None:
    drawings = Drawings(("anonymise", "boxes"), "faces", "blur", cutout=True, crops=True)
    sure = people((0.9, 0.6))
    files = write_outputs(tmp_path / "a", sure, NOISE, drawings=drawings, everybody=people())
    pictures = {"a_hidden.jpg", "a_overlay.png", "a_cutout.png", "a_person1.jpg", "a_person2.jpg"}
    assert pictures <= {path.name for path in files}
    hidden = draw.anonymise(NOISE, people(), hide="faces", style="blur")
    face = people().label_map() == FACE
    assert np.abs(pixels(tmp_path / "a_hidden.jpg").astype(int) - hidden)[face].mean() < 3
    assert np.abs(pixels(tmp_path / "a_hidden.jpg").astype(int) - NOISE)[face].mean() > 40
    boxes = draw.overlay(hidden, People(sure.boxes, sure.scores, SIZE))
    np.testing.assert_array_equal(pixels(tmp_path / "a_overlay.png"), boxes)
    crop = pixels(tmp_path / "a_person2.jpg").astype(int)
    assert np.abs(crop - sure.cut(hidden, 1)).mean() < 12  # noise is what JPEG keeps worst
    assert np.abs(crop - NOISE[10:110, 55:95])[:20, 12:28].mean() > 40
    cut = cv2.imread(str(tmp_path / "a_cutout.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(cv2.cvtColor(cut, cv2.COLOR_BGRA2RGBA), draw.cutout(hidden, sure))


class _Engine:
    """Answers with whom it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Options] = []

    def analyze(self, picture: bytes, options: Options) -> People:
        self.asked.append(options)
        everybody = people()
        return everybody.select(np.flatnonzero(everybody.scores >= options.confidence)[: options.max_people])


@pytest.mark.parametrize("hides", [True, False])
def test_doubtful_people_are_hidden_and_told_of_nowhere(tmp_path: Path, hides: bool) -> None:
    source = Source(Path("a.png"), tmp_path / "a", png.encode_rgb(NOISE))
    engine = _Engine()
    asked: Analyzer = engine  # type: ignore[assignment]
    drawings = Drawings(("anonymise",) if hides else ("boxes",), crops=True)
    options = Options(frozenset({"parsing", "densepose"}), confidence=0.5, max_people=1)
    report = predict_all(asked, options, [source], drawings=drawings, in_flight=1, resume=False)
    assert report.pictures[0]["people"] == 1
    assert len(json.loads((tmp_path / "a.json").read_text())["predictions"]) == 1
    assert len(People.load(tmp_path / "a.npz")) == 1
    assert not (tmp_path / "a_person2.jpg").exists()
    assert engine.asked[0].confidence == (0.1 if hides else 0.5)
    if hides:
        shown = pixels(tmp_path / "a_hidden.jpg").astype(int)
        for x in (5, 55, 105):  # the doubtful one, too, and who was one too many
            assert np.abs(shown - NOISE)[10:34, x + 10 : x + 30].mean() > 40
    again = predict_all(asked, options, [source], drawings=drawings, in_flight=1, resume=True)
    assert again.skipped == 1


def test_done_is_what_was_drawn_as_it_is_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "a"
    hidden = Drawings(("anonymise", "boxes"))

    def done(drawings: Drawings) -> bool:
        return is_done(target, OPTIONS, drawings=drawings)

    write_outputs(target, people(), NOISE, options=OPTIONS, drawings=hidden)
    assert done(hidden)
    assert not done(Drawings())
    assert not done(Drawings(("anonymise", "boxes"), "faces"))
    assert not done(Drawings(("anonymise", "boxes"), style="blur"))
    assert not done(Drawings(("anonymise", "boxes"), cutout=True))
    write_outputs(target, people(), NOISE, options=OPTIONS, drawings=Drawings(crops=True, cutout=True))
    for drawings in (Drawings(), Drawings(crops=True), Drawings(cutout=True)):  # more takes nothing away
        assert done(drawings)
    (tmp_path / "a_person3.jpg").unlink()
    assert not done(Drawings(crops=True))
    assert done(Drawings())


def test_who_is_found_no_more_has_no_picture_any_more(tmp_path: Path) -> None:
    target, crops = tmp_path / "a", Drawings(crops=True)
    (tmp_path / "a_person4.jpg").write_bytes(b"somebody's own")
    write_outputs(target, people(), NOISE, drawings=crops)
    write_outputs(target, people((0.9,)), NOISE, drawings=crops)
    assert sorted(path.name for path in tmp_path.glob("*person*")) == ["a_person1.jpg", "a_person4.jpg"]


def test_pictures_of_another_run_are_neither_done_nor_kept(tmp_path: Path) -> None:
    """Whoever asks for hidden people gets no crop in which an earlier run shows them."""
    target, plain = tmp_path / "a", Drawings(cutout=True, crops=True)
    hidden, wanted = (
        Drawings(("anonymise", "boxes")),
        Drawings(("anonymise", "boxes"), cutout=True, crops=True),
    )
    write_outputs(target, people(), NOISE, options=OPTIONS, drawings=plain)
    crops = {path.name: path.read_bytes() for path in tmp_path.glob("a_person*")}
    write_outputs(target, people(), NOISE, options=OPTIONS, drawings=hidden)
    left = {"a_hidden.jpg", "a_overlay.png", "a_parts.png", "a_IUV.png", "a_INDS.png", "a.npz", "a.json"}
    assert {path.name for path in tmp_path.iterdir()} == left
    for name, data in crops.items():  # as a program without this rule left them
        (tmp_path / name).write_bytes(data)
    (tmp_path / "a_cutout.png").write_bytes(b"")
    assert is_done(target, OPTIONS, drawings=hidden)
    assert not is_done(target, OPTIONS, drawings=wanted)
    write_outputs(target, people(), NOISE, options=OPTIONS, drawings=wanted)
    assert is_done(target, OPTIONS, drawings=wanted)
    assert is_done(target, OPTIONS, drawings=hidden)  # more takes nothing away
    write_outputs(target, people(), NOISE, options=OPTIONS, drawings=Drawings())
    assert {path.name for path in tmp_path.iterdir()} == left - {"a_hidden.jpg"}


def test_pictures_of_a_run_that_was_stopped_are_not_kept(tmp_path: Path) -> None:
    target = tmp_path / "a"
    own = tmp_path / "a_person9.jpg"
    own.write_bytes(b"somebody's own")
    stop = tmp_path / "a_person3.jpg.part"
    stop.mkdir()
    with pytest.raises(IsADirectoryError):
        write_outputs(target, people(), NOISE, drawings=Drawings(crops=True))
    stop.rmdir()
    assert not (tmp_path / "a.json").exists()
    assert is_output(tmp_path / "a_person1.jpg")
    assert not is_output(own)
    write_outputs(target, people(), NOISE, drawings=Drawings())
    assert list(tmp_path.glob("*person*")) == [own]
    assert list(tmp_path.glob("*.part")) == []


def test_a_stopped_run_leaves_nothing_that_passes_for_done(tmp_path: Path) -> None:
    hidden = Drawings(("anonymise", "boxes"), crops=True)
    write_outputs(tmp_path / "a", people(), NOISE, options=OPTIONS, drawings=hidden)
    (tmp_path / "a_person3.jpg.part").mkdir()  # where the next run stops, behind unhidden pictures
    with pytest.raises(IsADirectoryError):
        write_outputs(tmp_path / "a", people(), NOISE, options=OPTIONS, drawings=Drawings(crops=True))
    assert not is_done(tmp_path / "a", OPTIONS, drawings=hidden)


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(build(), ["predict", *map(str, arguments)])


def test_no_photo_is_replaced_by_a_result_that_is_named_like_it(
    tmp_path: Path, photo_jpeg: bytes, gateway_url: str
) -> None:
    folder = tmp_path / "am"
    folder.mkdir()
    for name in ("me.jpg", "me_person1.jpg", "me_hidden.jpg"):
        (folder / name).write_bytes(photo_jpeg)
    given = (folder, "-o", folder, "--server", gateway_url, "--tasks", "parsing")
    for run in range(2):  # also where results of an earlier run lie beside them
        for options, name in ((["--crops"], "me_person1.jpg"), (["--layers", "anonymise"], "me_hidden.jpg")):
            before = {path.name: path.read_bytes() for path in folder.iterdir()}
            done = predict(*given, *options)
            assert done.exit_code == 2, done.stderr
            assert f"{name} is named like a result of {folder / 'me.jpg'} and would be replaced" in done.stderr
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        if not run:
            assert predict(*given).exit_code == 0
    assert "3 pictures" in predict(*given).stderr
    assert [(folder / name).read_bytes() == photo_jpeg for name in ("me_person1.jpg", "me_hidden.jpg")] == [True] * 2


@pytest.mark.parametrize(
    ("name", "options", "refused"),
    [
        ("me_overlay.png", ["--tasks", "parsing"], True),
        ("me_parts.png", ["--tasks", "parsing"], True),
        ("me_IUV.png", ["--tasks", "parsing"], False),
        ("me_cutout.png", ["--cutout"], True),
        ("me_person12.jpg", ["--crops"], True),
        ("me_person0.jpg", ["--crops"], False),
    ],
)
def test_only_names_that_will_be_written_are_refused(
    tmp_path: Path, name: str, options: list[str], refused: bool
) -> None:
    for each in ("me.jpg", name):
        (tmp_path / each).write_bytes(b"a photo")
    done = predict(tmp_path / "*", "-o", tmp_path, *options, "--repository", tmp_path / "none")
    assert ("is named like a result of" in done.stderr) == refused
    assert (done.exit_code == 2) == refused
    assert predict(tmp_path / "*", "-o", tmp_path / "o", *options, "--repository", tmp_path / "none").exit_code != 2


def test_a_result_that_is_named_itself_is_no_source_of_a_run_that_takes_it_away(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a photo")
    write_outputs(tmp_path / "a", people(), NOISE, drawings=Drawings(crops=True))
    both = (tmp_path / "a.jpg", tmp_path / "a_person1.jpg", "-o", tmp_path, "--repository", tmp_path / "none")
    assert "a_person1.jpg is named like a result of" in predict(*both).stderr
    assert predict(*both).exit_code == 2


def test_what_is_drawn_is_no_source_of_the_next_run(tmp_path: Path) -> None:
    write_outputs(tmp_path / "a", people(), NOISE, drawings=Drawings(("anonymise",), cutout=True, crops=True))
    for path in tmp_path.iterdir():
        assert is_output(path) == (path.suffix in (".png", ".jpg")), path
    for name in ("a_person0.jpg", "a_person.jpg", "b_hidden.jpg", "a_hidden.png"):
        assert not is_output(tmp_path / name)


@pytest.mark.parametrize(
    "wrong", [{"layers": ("bones",)}, {"layers": ()}, {"hide": "hands"}, {"style": "ink"}, {"layers": ("texture",)}]
)
def test_wrong_names_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidOptions, match="choose"):
        Drawings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--hide", "faces"], "--hide faces is for the layer anonymise"),
        (["--style", "pixelate"], "--style pixelate is for the layer anonymise"),
        (["--layers", "anonymise", "--hide", "hands"], "choose one of heads, faces, people"),
        (["--layers", "iuv", "--tasks", "parsing"], "the layer iuv needs the task densepose"),
        (["--cutout", "--tasks", ""], "--cutout needs the task"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_opened(
    photo: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    given = ["predict", str(photo), "-o", str(tmp_path / "out"), "--repository", str(tmp_path / "none")]
    done = CliRunner().invoke(build(), [*given, *arguments])
    assert done.exit_code == 2, done.output
    assert says in done.stderr


def test_an_anonymised_photo_has_nothing_of_the_original(tmp_path: Path, photo_jpeg: bytes) -> None:
    """A camera's own thumbnail shows the face, and its notes say where and when."""
    original = Image.open(io.BytesIO(photo_jpeg))
    exif = Image.Exif()
    exif[0x010E] = "at home with Eileen"
    original.save(tmp_path / "a.jpg", exif=exif.tobytes() + b"THUMBNAIL" + photo_jpeg[:2000], comment=b"secret")
    assert (tmp_path / "a.jpg").read_bytes().count(b"\xff\xd8\xff") == 2
    given = ["predict", str(tmp_path / "a.jpg"), "-o", str(tmp_path / "out"), "--layers", "anonymise", "--cutout"]
    done = CliRunner().invoke(build(), [*given, "--crops", "--threads", "1"])
    assert done.exit_code == 0, done.output
    for name in ("a_hidden.jpg", "a_person1.jpg", "a_overlay.png", "a_cutout.png"):
        data = (tmp_path / "out" / name).read_bytes()
        if name.endswith(".jpg"):
            assert data.count(b"\xff\xd8\xff") == 1  # the picture, and none in it
        for secret in (b"Exif", b"Eileen", b"THUMBNAIL", b"secret"):
            assert secret not in data
    hidden = pixels(tmp_path / "out" / "a_hidden.jpg").astype(int)
    face = (slice(80, 150), slice(195, 255))
    assert np.abs(hidden - np.asarray(original.convert("RGB")))[face].mean() > 12
    below = (slice(400, 512), slice(0, 512))
    assert np.abs(hidden - np.asarray(original.convert("RGB")))[below].mean() < 4
