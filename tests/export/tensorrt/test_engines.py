"""Plans, commands and the reasons why no engine is built; TensorRT itself is in test_bindings.py."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
import typer
from onnx import numpy_helper

from export.options import ExportOptions
from export.targets import write_engines
from export.tensorrt import builder
from export.tensorrt.builder import BuildFailed, NoGpu, PluginMissing, TensorRTMissing, TensorRTVersion, trtexec
from export.tensorrt.plans import write_plans
from export.tensorrt.profiles import ENGINE, Profile, canvas_profiles, people_profiles
from export.triton_repository import files, read_shapes
from parsing_rcnn.models import all_canvases
from parsing_rcnn.repository import CARD, GRAPHS, ModelRepository


def test_canvas_profiles_by_hand() -> None:
    sizes = [(384, 640), (640, 384), (512, 512), (512, 832), (832, 512), (672, 672)]
    assert canvas_profiles(sizes) == (
        Profile("CANVAS", (384, 640, 3), (384, 640, 3), (512, 832, 3)),
        Profile("CANVAS", (640, 384, 3), (640, 384, 3), (832, 512, 3)),
        Profile("CANVAS", (512, 512, 3), (512, 512, 3), (672, 672, 3)),
    )
    assert canvas_profiles([(64, 96)]) == (Profile("CANVAS", (64, 96, 3), (64, 96, 3), (64, 96, 3)),)


def test_people_profiles_cover_every_number() -> None:
    profiles = people_profiles((1, 4, 16, 64), (8, 32, 32))
    assert [(p.least[0], p.best[0], p.largest[0]) for p in profiles] == [
        (1, 1, 1),
        (2, 4, 4),
        (5, 16, 16),
        (17, 64, 64),
    ]
    assert {p.largest[1:] for p in profiles} == {(8, 32, 32)}


def test_canvases_of_every_model_of_a_card() -> None:
    card = {"canvases": [[1, 2], [3, 4]], "models": {"fast": {"canvases": [[1, 2]]}, "large": {"canvases": [[5, 6]]}}}
    assert all_canvases(card) == ((1, 2), (3, 4), (5, 6))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped graphs and card."""
    folder, shipped = tmp_path_factory.mktemp("engines"), ModelRepository.open().path
    for graph in GRAPHS:
        (folder / graph / "1").mkdir(parents=True)
        for name in ("model.onnx", "model.int8.onnx"):
            shutil.copy(shipped / graph / "1" / name, folder / graph / "1")
    shutil.copy(shipped / CARD, folder)
    return folder


def test_plans_and_commands(repository: Path) -> None:
    plans = write_plans(repository)
    assert [(plan.graph, plan.plugin, len(plan.profiles)) for plan in plans] == [
        ("detector", True, 3),
        ("parsing", False, 4),
        ("densepose_head", False, 4),
    ]
    words = shlex.split(trtexec(plans[0], Path("/p/libprcnn_plugin.so"), Path("/cache")))
    folder = repository / "detector" / "1"
    assert words[:5] == [
        "trtexec",
        f"--onnx={folder}/model.tensorrt.onnx",
        f"--saveEngine={folder}/model.plan",
        "--stronglyTyped",
        "--skipInference",
    ]
    assert "--dynamicPlugins=/p/libprcnn_plugin.so" in words
    assert words[-4:] == [
        "--profile=2",
        "--minShapes=CANVAS:512x512x3",
        "--optShapes=CANVAS:512x512x3",
        "--maxShapes=CANVAS:672x672x3",
    ]
    assert "dynamicPlugins" not in trtexec(plans[1])
    assert all("--noTF32" in shlex.split(trtexec(plan)) for plan in plans)  # fp32 is fp32 from Ampere on, too


def test_engines_lie_where_triton_looks(repository: Path) -> None:
    written = files(read_shapes(repository))
    for plan in write_plans(repository):
        text = written[f"{plan.graph}/config.pbtxt"]
        assert f'default_model_filename: "{ENGINE}"' in text
        assert plan.folder == repository / plan.graph / "1"
        named = json.loads(text.split("profile: ")[1].split(" }]")[0])
        assert named == [str(k) for k in range(len(plan.profiles))]


def test_buckets_of_the_card(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository, tmp_path / "r")
    options = ExportOptions(max_people=8, people_buckets=(1, 2, 8))
    card = json.loads((repository / CARD).read_text())
    (tmp_path / "r" / CARD).write_text(json.dumps({**card, **options.told()}))
    plans = write_plans(tmp_path / "r")
    assert [p.largest[0] for p in plans[1].profiles] == [1, 2, 8]
    written = files(read_shapes(tmp_path / "r"))
    assert "max_batch_size: 8" in written["parsing/config.pbtxt"]
    assert "max_batch_size: 64" in written["parsing/configs/cpu.pbtxt"]


@pytest.mark.parametrize(
    ("told", "people"), [({}, 64), ({"max_people": 8}, 8), ({"max_people": 8, "static_people": 5}, 5)]
)
def test_nobody_whom_the_card_allows_is_left_out_by_nms(
    repository: Path, tmp_path: Path, told: dict[str, int], people: int
) -> None:
    shutil.copytree(repository, tmp_path / "r")
    card = json.loads((repository / CARD).read_text())
    card["recipe"]["model"]["rpn"]["proposals_test"] = 77
    (tmp_path / "r" / CARD).write_text(json.dumps({**card, **told}))
    graph = onnx.load(write_plans(tmp_path / "r")[0].onnx).graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    most = [int(values[node.input[2]][0]) for node in graph.node if node.op_type == "NonMaxSuppression"]
    assert most == [77, people]


@pytest.mark.parametrize(
    ("source", "says", "commands"),
    [
        ("raise ImportError('libnvinfer.so.11')", "its libraries do not load", 3),
        ("__version__ = '8.6.1'", "TensorRT 8.6.1 is installed", 0),
    ],
)
def test_no_engines_are_no_success(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
    says: str,
    commands: int,
) -> None:
    """Without TensorRT its commands are told, which can be run elsewhere."""
    (tmp_path / "tensorrt.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(typer.Exit) as ended:
        write_engines(repository, None, print_only=False)
    sys.modules.pop("tensorrt", None)
    assert ended.value.exit_code == 1
    told = capsys.readouterr()
    assert f"error: TensorRT {'' if commands else '8.6.1 '}is installed" in told.err
    assert says in told.err
    assert sum(line.startswith("trtexec ") for line in told.out.splitlines()) == commands


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_tensorrt_is_not_installed() -> None:
    with pytest.raises(TensorRTMissing, match=r"is not installed.*pip install tensorrt-cu13.*--print-trtexec"):
        builder.load_tensorrt()


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        (
            "raise ImportError('libnvinfer.so.11: cannot open shared object file')",
            TensorRTMissing,
            "its libraries do not load .libnvinfer.so.11",
        ),
        ("__version__ = '8.6.1'", TensorRTVersion, "TensorRT 8.6.1 is installed; these engines need 10 or 11"),
    ],
)
def test_an_installation_that_does_not_serve(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, kind: type[Exception], words: str
) -> None:
    (tmp_path / "tensorrt.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(kind, match=words):
        builder.load_tensorrt()
    sys.modules.pop("tensorrt", None)


def driver(folder: Path, status: int) -> str:
    """A library with the driver's functions: `status` from the first, compute capability 8.9 from the last."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler on this machine")
    (folder / "driver.c").write_text(
        f"int cuInit(unsigned flags) {{ return {status}; }}\n"
        "int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }\n"
        "int cuDeviceGetAttribute(int *value, int which, int device) { *value = which == 75 ? 8 : 9; return 0; }\n"
    )
    library = folder / f"libcuda_{status}.so"
    subprocess.run(["cc", "-shared", "-fPIC", folder / "driver.c", "-o", library], check=True)
    return str(library)


def test_compute_capability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert builder.compute_capability(driver(tmp_path, 0)) == (8, 9)
    with pytest.raises(NoGpu, match=r"no NVIDIA driver here.*build where the kind of GPU is"):
        builder.compute_capability("libno_such_driver.so")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(NoGpu, match=r"shows no GPU, CUDA error 100 \(CUDA_VISIBLE_DEVICES='7'\)"):
        builder.compute_capability(driver(tmp_path, 100))


class Builder:
    """TensorRT's builder, network, parser and configuration in one: takes everything but what it is told to refuse."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses, self.timings = refuses, b""
        self.create_builder_config = self.create_network = lambda *_: self
        self.set_memory_pool_limit = self.clear_flag = self.set_shape = lambda *_: None
        self.create_optimization_profile = self.get_timing_cache = lambda: self
        self.parse = lambda _: refuses != "graph"
        self.num_errors, self.get_error = 1, lambda _: self
        self.node_operator, self.node_name, self.desc = (lambda: "Cast"), (lambda: "/cast"), (lambda: "no such type")

    def create_timing_cache(self, timings: bytes) -> bytes:
        return timings

    def set_timing_cache(self, timings: bytes, ignore_mismatch: bool) -> bool:
        taken = not ignore_mismatch and (self.refuses != "timings" or not timings)
        self.timings = timings if taken else self.timings
        return taken

    def add_optimization_profile(self, _: object) -> int:
        return -1 if self.refuses == "profile" else 0

    def build_serialized_network(self, *_: object) -> bytes | None:
        return None if self.refuses == "engine" else b"engine"

    def serialize(self) -> bytes:
        return self.timings + b" and more"


def build(folder: Path, refuses: str = "") -> tuple[bytes, bytes]:
    """What `builder.build` makes of a graph with one profile, and with timings of an earlier build."""
    (folder / builder.GRAPH).touch()
    plan = builder.Plan("parsing", folder, people_profiles((4,), (8, 32, 32)), plugin=False)
    fake = Builder(refuses)
    trt = SimpleNamespace(
        __version__="11.4.0",
        Builder=lambda _: fake,
        OnnxParser=lambda *_: fake,
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        MemoryPoolType=SimpleNamespace(WORKSPACE=0),
        BuilderFlag=SimpleNamespace(TF32=0),
    )
    return builder.build(trt, None, plan, b"earlier")


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        ("graph", r"model.tensorrt.onnx: TensorRT 11.4.0 does not take it: Cast /cast: no such type"),
        ("profile", r"model.tensorrt.onnx: TensorRT 11.4.0 does not take the profile .*least=\(1, 8, 32, 32\)"),
        ("engine", r"model.tensorrt.onnx: TensorRT 11.4.0 built no engine, its log above says why.*--static-people"),
    ],
)
def test_what_tensorrt_refuses_is_said(tmp_path: Path, refuses: str, words: str) -> None:
    """TensorRT is not here; test_bindings.py holds the calls against its own classes."""
    with pytest.raises(BuildFailed, match=words):
        build(tmp_path, refuses)


def test_timings_of_another_tensorrt_are_begun_again(tmp_path: Path) -> None:
    assert build(tmp_path) == (b"engine", b"earlier and more")
    assert build(tmp_path, "timings") == (b"engine", b" and more")


def test_a_plugin_that_is_absent_or_refused(tmp_path: Path) -> None:
    registry = SimpleNamespace(load_library=lambda path: None, get_creator=lambda *name: None)
    trt = SimpleNamespace(__version__="11.4.0", get_plugin_registry=lambda: registry)
    with pytest.raises(PluginMissing, match=r"no such file.*make plugin TENSORRT_INCLUDE_DIR"):
        builder.load_plugin(trt, tmp_path / "libprcnn_plugin.so")
    (tmp_path / "libprcnn_plugin.so").write_bytes(b"")
    with pytest.raises(PluginMissing, match=r"TensorRT 11.4.0 does not take it"):
        builder.load_plugin(trt, tmp_path / "libprcnn_plugin.so")


def test_a_plugin_is_registered_once(tmp_path: Path) -> None:
    asked = []
    registry = SimpleNamespace(get_creator=lambda *name: asked.append(name) or object())
    builder.load_plugin(SimpleNamespace(get_plugin_registry=lambda: registry), tmp_path / "absent.so")
    assert asked == [("PyramidRoiAlign", "1", "")]
