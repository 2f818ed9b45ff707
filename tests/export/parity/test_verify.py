"""The parity report: it holds for a good export in every situation and breaks for a bad one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from export.parity.backends import TOLERANCES, Backend, EagerGraphs, open_backends, tolerance_of
from export.parity.comparison import Tolerance, compare
from export.parity.report import difference_sheet, to_markdown, write_report
from export.parity.situations import Situation, chosen_situations, photo_situation, rendered_situations
from export.parity.verify import Answers, verify
from export.rendered.pictures import render_scene
from export.tensorrt.profiles import canvas_profiles
from export.tensorrt.runtime import unavailable
from parsing_rcnn.cli import build
from parsing_rcnn.models import all_canvases
from parsing_rcnn.repository import CARD, ModelRepository
from parsing_rcnn.runtime import Graphs
from parsing_rcnn.taxonomy import CIHP
from tests.export.conftest import Exported
from training.model.parsing_rcnn import ParsingRCNN

Verified = tuple[dict, Answers, list[Situation]]


def scenes(*names: str) -> list[Situation]:
    """Rendered situations on the canvases of the shipped model."""
    return chosen_situations(ModelRepository.open().canvases, names)


@pytest.fixture(scope="module")
def verified(repository: Path) -> Verified:
    """The report that CI makes again of a fresh export, on rendered pictures."""
    return verify(repository)


def test_the_contract_holds_for_every_pair(verified: Verified) -> None:
    report, _, _ = verified
    assert report["passed"], to_markdown(report)
    names = [b["name"].split()[0] + " " + b["precision"] for b in report["backends"]]
    assert {"torch fp32", "onnxruntime fp32", "openvino fp32"} <= set(names)
    assert len(report["pairs"]) == len(names) * (len(names) - 1) // 2
    for pair in report["pairs"]:
        if pair["precision"] == "fp32":
            assert pair["difference"]["parts"] >= 0.999


def test_every_situation_is_what_it_says(verified: Verified) -> None:
    report, _, _ = verified
    found = {s["name"]: s for s in report["situations"]}
    assert list(found) == ["nobody", "1 person", "5 people", "20 people", "portrait", "landscape", "tiny", "huge"]
    for situation in found.values():
        if situation["people_wanted"] is not None:
            assert situation["people_found"] == situation["people_wanted"], situation["name"]
    for pair in report["pairs"]:
        assert list(pair["situations"]) == list(found)
        assert pair["difference"]["people"] == sum(s["people"] for s in pair["situations"].values())


def sizes(canvases: Sequence[tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    return {situation.name: situation.canvases[0].shape[:2] for situation in rendered_situations(canvases)}


def test_scenes_are_as_large_as_the_canvases_of_the_model() -> None:
    paper = sizes(((800, 1344), (1344, 800), (1056, 1056)))
    assert [paper[name] for name in ("nobody", "5 people", "20 people", "landscape")] == [(800, 1344)] * 4
    assert paper["1 person"] == paper["portrait"] == (1344, 800)
    alone = sizes(((640, 384),))  # landscapes are served on it, too
    assert {alone[name] for name in ("nobody", "1 person", "5 people", "portrait", "landscape")} == {(640, 384)}
    assert alone["20 people"] == (800, 1280)  # on less they are too small to be found
    for found in (paper, alone):
        assert (found["tiny"], found["huge"]) == ((96, 160), (1344, 1344))


def test_a_model_is_verified_on_its_own_canvases(repository: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(repository, own)
    card = json.loads((own / CARD).read_text())
    (own / CARD).write_text(json.dumps({**card, "canvases": [[256, 448], [448, 256]]}))
    words = ["verify", "--repository", str(own), "--out", str(tmp_path / "parity.md")]
    done = CliRunner().invoke(build(), [*words, "--situation", "1 person", "--situation", "5 people"])
    assert done.exit_code == 0, done.output
    described = json.loads((tmp_path / "parity.json").read_text())["situations"]
    assert [situation["canvases"] for situation in described] == [[[448, 256]], [[256, 448]]]
    assert [situation["people_found"] for situation in described] == [1, 5]


def test_the_report_is_written_with_pictures(verified: Verified, tmp_path: Path) -> None:
    report, found, situations = verified
    write_report(report, tmp_path / "parity.md", found, situations, CIHP)
    page = (tmp_path / "parity.md").read_text()
    assert "**Held.**" in page
    assert "| 20 people | 800x1280 | 1 | 20 | 20 |" in page
    assert f"`parsing-rcnn verify --out {tmp_path / 'parity.md'}`" in page
    of_another = to_markdown(report, out=Path("parity.md"), repository=Path("my own"))
    assert "`parsing-rcnn verify --repository 'my own' --out parity.md`" in of_another
    assert json.loads((tmp_path / "parity.json").read_text())["passed"] is True
    sheet = tmp_path / "pictures" / "parity_onnxruntime_fp32.jpg"
    assert str(sheet.relative_to(tmp_path)) in page
    picture = cv2.imread(str(sheet))
    assert picture.shape[0] >= 6 * 160  # a row for each rendered situation with people


def test_other_weights_break_it(repository: Path, model: ParsingRCNN, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {k: v.clone() for k, v in model.state_dict().items()}
    state["parsing_head.up.deconv.bias"][3] += 5.0
    save_file(state, tmp_path / "other.safetensors")
    one = scenes("1 person")
    report, _, _ = verify(repository, checkpoint=tmp_path / "other.safetensors", situations=one)
    assert not report["passed"]
    assert "**broken**" in to_markdown(report)


def test_miou_changes_by_nothing_in_fp32(repository: Path, labelled: Path) -> None:
    one = scenes("tiny")
    report, _, _ = verify(repository, data=labelled, situations=one)
    assert report["passed"], to_markdown(report)
    assert [row["name"].split()[0] for row in report["miou"]][:2] == ["torch", "onnxruntime"]
    for row in report["miou"]:
        assert row["photos"] == 2
        assert 0 < row["miou"] < 1
        assert abs(row["change"]) < 1e-4
    assert "## mIoU on 2 labelled validation photos" in to_markdown(report)


def test_an_engine_is_compared_where_a_profile_holds_the_canvas(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another runtime plays the engine: there is no GPU here. Which canvases one takes, its own profiles tell."""
    profiles = canvas_profiles(all_canvases(json.loads((repository / CARD).read_text())))

    def takes(canvas: tuple[int, ...]) -> bool:
        return any(
            all(low <= size <= high for low, size, high in zip(p.least, canvas, p.largest, strict=True))
            for p in profiles
        )

    def opened(*given: object) -> tuple[list[Backend], dict[str, str]]:
        backends, absent = open_backends(*given)
        return [*backends[:1], replace(backends[1], name="engine", takes=takes)], absent

    monkeypatch.setattr("export.parity.verify.open_backends", opened)
    two = scenes("1 person", "tiny")
    report, found, situations = verify(repository, situations=two)
    assert report["passed"], to_markdown(report)
    assert report["absent"]["engine in tiny"] == "no profile of its engine holds these canvases"
    (pair,) = report["pairs"]
    assert list(pair["situations"]) == ["1 person"]
    assert pair["difference"]["people"] == 1
    write_report(report, tmp_path / "parity.md", found, situations, CIHP)
    assert "- engine in tiny: no profile" in (tmp_path / "parity.md").read_text()
    nothing, _, _ = verify(repository, situations=two[1:])
    assert not nothing["passed"]  # nothing was compared


class Blind:
    """Graphs that see nobody on canvases from 200 pixels on."""

    def __init__(self, graphs: Graphs) -> None:
        self.graphs, self.parsing, self.densepose = graphs, graphs.parsing, graphs.densepose

    def detector(self, canvas: np.ndarray, limits: np.ndarray) -> dict[str, np.ndarray]:
        return self.graphs.detector(canvas, limits if len(canvas) < 200 else np.float32([2, 0]))


@pytest.mark.parametrize(("blind", "precision", "held"), [(2, "fp32", False), (2, "int8", True), (0, "int8", False)])
def test_miou_decides_too_however_near_the_answers_are(
    repository: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch, blind: int, precision: str, held: bool
) -> None:
    """The labels are no people: who sees nobody there gains, which only a coarser precision may. The others lose."""

    def opened(*given: object) -> tuple[list[Backend], dict[str, str]]:
        torch, exact, *_ = open_backends(*given)[0]
        backends = [torch, exact, replace(exact, name="coarse", precision=precision)]
        backends[blind] = replace(backends[blind], graphs=Blind(backends[blind].graphs))
        return backends, {}

    monkeypatch.setattr("export.parity.verify.open_backends", opened)
    tiny = scenes("tiny")
    report, _, _ = verify(repository, data=labelled, situations=tiny)
    assert [pair["held"] for pair in report["pairs"]] == [True] * 3
    assert (report["miou"][2]["held"], report["passed"]) == (held, held)
    assert (report["miou"][2]["change"] > 0) == (blind == 2)


def test_where_no_runtime_is_installed_nothing_holds(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.parity.verify.open_backends", lambda *given: (open_backends(*given)[0][:1], {}))
    report, _, _ = verify(repository, situations=scenes("tiny"))
    assert (report["pairs"], report["passed"]) == ([], False)


def test_another_repository_is_compared_even_in_the_same_precision(repository: Path, tmp_path: Path) -> None:
    """Its heads are swapped for those of somebody else: that is not hidden behind what has the same name."""
    other = tmp_path / "other"
    shutil.copytree(repository, other)
    path = other / "parsing" / "1" / "model.onnx"
    proto = onnx.load(path)
    (bias,) = (t for t in proto.graph.initializer if t.name.endswith("head.up.deconv.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias)[::-1].copy(), bias.name))
    onnx.save(proto, path)
    card = json.loads((other / CARD).read_text())
    card["files"]["parsing"] |= {"bytes": path.stat().st_size, "sha256": sha256(path.read_bytes()).hexdigest()}
    (other / CARD).write_text(json.dumps(card))
    one = scenes("1 person")
    for first, second in ((repository, other), (other, repository)):
        report, found, _ = verify(first, checkpoint=ModelRepository.open().path, also=[second], situations=one)
        names = [backend["name"] for backend in report["backends"]]
        assert len(set(names)) == len(names) == len(found)
        twice = [name for name in names if name.endswith(f" of {second}")]
        assert len(twice) == len(names) // 2
        for pair in report["pairs"]:
            if pair["first"] == report["reference"] and pair["precision"] == "fp32":
                assert pair["held"] == ((pair["second"] in twice) == (second == repository)), pair["second"]
        assert not report["passed"]


def test_a_checkpoint_is_rounded_as_its_export_is(repository: Path, model: ParsingRCNN, tmp_path: Path) -> None:
    """Weights that are off by less than half a step of fp16 give the very answers of those that are not."""
    from safetensors.torch import save_file

    state = {
        name: value * (1 + 2**-14) if value.ndim >= 2 and value.numel() >= 256 else value.clone()
        for name, value in model.state_dict().items()
    }
    save_file(state, tmp_path / "before.safetensors")
    tiny = scenes("tiny")
    (before, rounded), (_, exact) = (
        verify(repository, checkpoint=path, situations=tiny)[:2] for path in (tmp_path / "before.safetensors", None)
    )
    for name, values in exact[before["reference"]][0][0].items():
        np.testing.assert_array_equal(rounded[before["reference"]][0][0][name], values)


def test_an_engine_that_cannot_be_read_is_said_and_the_others_are_compared(
    repository: Path, model: ParsingRCNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: ModelRepository) -> None:
        raise RuntimeError("detector/1/model.plan: TensorRT 10 cannot read this engine")

    monkeypatch.setattr("export.parity.backends.unavailable", lambda _: None)
    monkeypatch.setattr("export.parity.backends.TensorRtGraphs", refused)
    backends, absent = open_backends(model, [ModelRepository.open(repository)])
    assert len(backends) >= 3
    assert "cannot read this engine" in absent["tensorrt fp32"]


def _answer(shift: float, label: int, score: float = 0.9) -> dict[str, np.ndarray]:
    return {
        "BOXES": np.array([[10.0 + shift, 10, 110, 210], [200, 10, 300, 200]], np.float32),
        "SCORES": np.array([score, 0.8], np.float32),
        "PARTS": np.full((2, 4, 4), label, np.uint8),
        "PART_SCORES": np.zeros((2, 20), np.float32),
        "IUV": np.zeros((2, 3, 4, 4), np.uint8),
        "IUV_SCORES": np.zeros((2, 25), np.float32),
    }


def test_differences_by_hand() -> None:
    contract = TOLERANCES["fp32"]
    same = compare([_answer(0, 1)], [_answer(0.05, 1)])
    assert same.within(contract)
    assert same.box == pytest.approx(0.05, abs=1e-5)
    assert same.box_median == pytest.approx(0.025, abs=1e-5)
    assert not compare([_answer(0, 1)], [_answer(0.2, 1)]).within(contract)
    assert not compare([_answer(0, 1)], [_answer(0, 1, score=0.898)]).within(contract)
    other = compare([_answer(0, 1)], [_answer(0, 2)])
    assert (other.parts, other.parts_worst) == (0.0, 0.0)
    assert not other.within(contract)
    lost = {k: v[:1] for k, v in _answer(0, 1).items()}
    fewer = compare([_answer(0, 1)], [lost])
    assert (fewer.people, fewer.unmatched) == (2, 1)
    assert not fewer.within(contract)
    assert fewer.within(Tolerance(0.25, 0.1, 0.1, 1e-3, 0.999))  # one of the four of both runs
    assert not fewer.within(Tolerance(0.24, 0.1, 0.1, 1e-3, 0.999))


def test_people_are_matched_wherever_they_stand_in_the_answers() -> None:
    """A box of 100 pixels less 8 overlaps it by 0.92, which is one person, and less 12 by 0.88, which are two."""
    one, other = _answer(0, 1), _answer(8, 1)
    turned = {name: values[::-1] for name, values in other.items()}
    for second in (other, turned):
        found = compare([one], [second])
        assert (found.people, found.unmatched, found.box, found.score) == (2, 0, 8, 0)
        assert (found.box_median, found.box_p99) == (4, pytest.approx(7.92))
        assert found.within(Tolerance(0, 8, 4, 0, 1))
        assert not found.within(Tolerance(0, 8, 3.9, 0, 1))
    assert compare([one], [_answer(12, 1)]).unmatched == 2


def test_nobody_is_the_same_as_two() -> None:
    one, other = _answer(0, 1), _answer(0, 1)
    one["BOXES"][1] = one["BOXES"][0] + 1  # two people in nearly one place, of whom the other run has one
    other["BOXES"][0] += 1
    found = compare([one], [other])
    assert (found.people, found.unmatched, found.box) == (2, 2, 0)


def test_a_box_that_the_border_cut_to_a_line_is_still_somebody() -> None:
    one, other, away = _answer(0, 1), _answer(0, 1), _answer(0, 1)
    one["BOXES"][0] = [85, 0, 150, 0]
    other["BOXES"][0] = [85.02, 0, 150, 0]
    away["BOXES"][0] = [85, 30, 150, 30]
    assert compare([one], [other]).unmatched == 0
    assert compare([one], [other]).box == pytest.approx(0.02, abs=1e-5)
    assert compare([one], [away]).unmatched == 2


def test_labels_and_uv_by_hand() -> None:
    one, other = _answer(0, 1), _answer(0, 1)
    other["PARTS"][0, 0, :2] = 5  # 2 of 16 pixels of one person
    other["IUV"][1, 0, 0, 0] = 3  # another part: its U and V are not compared
    other["IUV"][1, 1] = 7
    other["IUV"][1, 1, 0, 0] = 255
    one["PART_SCORES"][0, 5], other["IUV_SCORES"][1, 3] = 0.25, 0.5
    found = compare([one], [other])
    assert (found.part_score, found.iuv_score) == (0.25, 0.5)
    assert found.parts == pytest.approx(15 / 16)
    assert found.parts_worst == pytest.approx(14 / 16)
    assert found.iuv == pytest.approx(31 / 32)
    assert found.uv == 7


def test_two_coarse_runs_may_lie_apart_by_both_limits(model: ParsingRCNN) -> None:
    graphs = EagerGraphs(model)
    exact, bf16, int8 = (Backend(p, p, graphs) for p in ("fp32", "bf16", "int8"))
    assert tolerance_of(exact, int8) == tolerance_of(int8, exact) == TOLERANCES["int8"]
    both = tolerance_of(bf16, int8)
    assert both.box_median == TOLERANCES["bf16"].box_median + TOLERANCES["int8"].box_median
    assert 1 - both.parts == pytest.approx(2 - TOLERANCES["bf16"].parts - TOLERANCES["int8"].parts)


def test_photos_are_never_shown(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.jpg"), render_scene(0, 120, 160, people=1))
    photos = photo_situation(ModelRepository.open(), tmp_path, 3)
    assert len(photos.canvases) == 1
    sheet = difference_sheet([photos], [[_answer(0, 1)]], [[_answer(0, 2)]], CIHP)
    assert not sheet.any()
    with pytest.raises(FileNotFoundError, match="no JPEG photos"):
        photo_situation(ModelRepository.open(), tmp_path / "none", 3)


def test_differences_are_red() -> None:
    scene = Situation("one", (render_scene(0, 240, 320),), np.array([0.05, 2], np.float32))
    sheet = difference_sheet([scene], [[_answer(0, 1)]], [[_answer(0, 2)]], CIHP)
    assert tuple(sheet[60, 2 * 213 + 40]) == (255, 0, 0)  # inside the first box
    assert len({int(c) for c in sheet[150, 2 * 213 + 40]}) == 1  # outside: grey


def test_no_tensorrt_is_said() -> None:
    from importlib.util import find_spec

    if find_spec("tensorrt") is None:
        assert unavailable(ModelRepository.open()) == "tensorrt is not installed"


def test_scenes_repeat() -> None:
    np.testing.assert_array_equal(render_scene(4, 100, 120), render_scene(4, 100, 120))
    assert (render_scene(4, 100, 120) != render_scene(5, 100, 120)).any()


def test_export_and_verify_from_the_command_line(exported: Exported, tmp_path: Path) -> None:
    """Of a repository, whose card says more of the weights than its recipe does; `test_repository` exports a run."""
    import typer

    from export.commands import register

    app = typer.Typer()
    register(app)
    runner = CliRunner()
    shipped, out = ModelRepository.open(), exported.folder
    assert not [said for said in exported.warned if "create_unbacked_symint" in said]  # torchvision's own
    card = json.loads((out / CARD).read_text())
    assert card.pop("files").keys() == shipped.card["files"].keys()
    assert card == {key: value for key, value in shipped.card.items() if key not in ("files", "quantization")}
    assert {"version", "models", "figures", "limits"} <= card.keys()
    report = tmp_path / "parity.md"
    quick = ["verify", "--repository", str(out), "--situation", "tiny"]
    verified = runner.invoke(app, [*quick, "--out", str(report)])
    assert verified.exit_code == 0, verified.output
    assert [s["name"] for s in json.loads(report.with_suffix(".json").read_text())["situations"]] == ["tiny"]
    assert f"`parsing-rcnn verify --situation tiny --repository {out} --out {report}`" in report.read_text()
    assert report.with_suffix(".json").is_file()
    missing = runner.invoke(app, ["export", str(tmp_path / "none.safetensors")])
    assert missing.exit_code == 1
    assert "none" in missing.output
    unknown = runner.invoke(app, ["verify", "--situation", "crowd"])
    assert unknown.exit_code == 2
    assert "crowd" in unknown.output
    nothing = runner.invoke(app, [*quick, "--photos", str(tmp_path / "none")])
    assert nothing.exit_code == 2
    assert "no JPEG photos" in nothing.output


def test_checkpoints_of_every_kind_from_the_command_line(repository: Path, tmp_path: Path) -> None:
    """What serves is one, as for `train` and `evaluate`; what is none is named, without a traceback."""
    import typer
    from safetensors.torch import save_file
    from torch import zeros

    from export.commands import register

    app = typer.Typer()
    register(app)
    quick = ["verify", "--repository", str(repository), "--situation", "tiny", "--checkpoint"]
    done = CliRunner().invoke(app, [*quick, str(ModelRepository.open().path)])
    assert done.exit_code == 0, done.output
    assert "**Held.**" in done.output
    save_file({"backbone.stem.weight": zeros(3)}, tmp_path / "another.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "folder").mkdir()
    for name, says in (
        ("another.safetensors", "the tensors do not fit this recipe"),
        ("text.safetensors", "no safetensors, or cut off"),
        ("none.safetensors", "no such checkpoint"),
        ("folder", "a folder without the graphs of a model repository"),
    ):
        failed = CliRunner().invoke(app, [*quick, str(tmp_path / name)])
        assert failed.exit_code == 2, failed.output
        assert says in failed.output.replace("\n", " ")
        assert name in failed.output
