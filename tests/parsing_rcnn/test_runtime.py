"""ONNX Runtime and OpenVINO behind one interface, on the shipped graphs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from parsing_rcnn import runtime as module
from parsing_rcnn.errors import BrokenModel, EngineUnavailable, InvalidOptions
from parsing_rcnn.inference.contention import Siblings, Threads
from parsing_rcnn.inference.cores import has_amx, has_avx2, has_vnni
from parsing_rcnn.repository import ModelRepository
from parsing_rcnn.runtime import Runtime, cache_folder


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    pytest.importorskip(request.param)
    return Runtime(ModelRepository.open(), request.param, "fp32", threads=1)


def canvas(height: int = 384, width: int = 640) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("people", [1, 3, 7, 64])
def test_tensors_of_the_contract(runtime: Runtime, people: int) -> None:
    found = runtime.detector(canvas(), np.array([0.0, people], np.float32))
    assert found["COUNT"].tolist() == [len(found["BOXES"])]
    assert len(found["BOXES"]) <= people
    assert found["BOXES"].dtype == found["SCORES"].dtype == found["ROI_FEATURES"].dtype == np.float32
    assert (np.diff(found["SCORES"]) <= 0).all()
    features = np.repeat(found["ROI_FEATURES"][:1], people, 0)
    answer = runtime.parsing(features, probabilities=True)
    assert answer["PARTS"].shape == (people, 128, 128)
    assert answer["PARTS"].dtype == np.uint8
    assert answer["PART_PROBS"].shape == (people, 20, 128, 128)
    assert answer["PART_PROBS"].dtype == np.uint8
    # the same whichever others somebody is computed with
    np.testing.assert_array_equal(answer["PARTS"], np.repeat(answer["PARTS"][:1], people, 0))
    # probabilities are rounded to 255ths: the part that won has the highest one, or shares it
    own = np.take_along_axis(answer["PART_PROBS"], answer["PARTS"][:, None], 1)[:, 0].astype(int)
    assert (answer["PART_PROBS"].max(1) - own <= 1).all()
    answer = runtime.densepose(features)
    iuv, scores = answer["IUV"], answer["IUV_SCORES"]
    assert (scores.shape, scores.dtype) == ((people, 25), np.float32)
    for row, cells in zip(scores, iuv[:, 0], strict=True):
        there = np.bincount(cells.ravel(), minlength=25)
        assert row[0] == 0
        assert ((row[1:] > 0.03) & (row[1:] <= 1))[there[1:] > 300].all()  # a cell of a quarter of the size may miss it
        assert (row[there == 0] == 0).mean() > 0.8
    assert iuv.shape == (people, 3, 128, 128)
    assert iuv.dtype == np.uint8
    assert iuv[:, 0].max() <= 24
    assert (iuv[:, 1:][np.repeat(iuv[:, :1] == 0, 2, 1)] == 0).all()


def test_a_crowd_is_everybody_alone_in_order(runtime: Runtime) -> None:
    found = runtime.detector(canvas(), np.array([0.0, 1], np.float32))["ROI_FEATURES"]
    crowd = found * np.linspace(0.2, 1.8, 19, dtype=np.float32)[:, None, None, None]
    together = runtime.parsing(crowd, probabilities=False)
    assert len(together["PARTS"]) == len(together["PART_SCORES"]) == 19
    for index in (0, 3, 4, 15, 16, 17, 18):
        alone = runtime.parsing(crowd[index : index + 1], probabilities=False)
        np.testing.assert_allclose(together["PART_SCORES"][index], alone["PART_SCORES"][0], atol=1e-3)
        assert (together["PARTS"][index] == alone["PARTS"][0]).mean() > 0.999


def test_nobody_is_one_dummy_row_and_count_zero(runtime: Runtime) -> None:
    found = runtime.detector(canvas(512, 512), np.array([1.1, 64], np.float32))
    assert found["COUNT"].tolist() == [0]
    assert found["BOXES"].shape == (1, 4)
    assert len(found["ROI_FEATURES"]) == 1


def test_both_runtimes_agree() -> None:
    pytest.importorskip("openvino")
    limits = np.array([0.0, 5], np.float32)
    one, other = (Runtime(ModelRepository.open(), kind, "fp32", 1) for kind in ("openvino", "onnxruntime"))
    a, b = one.detector(canvas(), limits), other.detector(canvas(), limits)
    np.testing.assert_allclose(a["BOXES"], b["BOXES"], atol=0.1)
    np.testing.assert_allclose(a["SCORES"], b["SCORES"], atol=1e-3)


def test_cuda_computes_fp32_and_does_not_try_every_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of ONNX Runtime where it has CUDA; the session itself runs on the CPU here."""
    onnxruntime = pytest.importorskip("onnxruntime")
    real, asked = onnxruntime.InferenceSession, []

    def session(path: str, options: object, providers: list[tuple[str, dict[str, str]]]) -> object:
        asked.append(providers)
        return real(path, options, providers=providers[1:])

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    Runtime(ModelRepository.open(), "onnxruntime", threads=1, graphs=["densepose_head"])
    cuda = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    assert asked == [[("CUDAExecutionProvider", cuda), ("CPUExecutionProvider", {})]]


@pytest.mark.parametrize("kind", ["openvino", "onnxruntime"])
def test_a_file_that_is_replaced_between_the_check_and_its_use_is_refused(kind: str, tmp_path: Path) -> None:
    pytest.importorskip(kind)
    shutil.copytree(ModelRepository.open().path, tmp_path / "copy")
    repository = ModelRepository.open(tmp_path / "copy")
    shutil.copy(repository.graph("densepose_head"), repository.graph("parsing"))
    with pytest.raises(BrokenModel, match=r"it is not the file of model_card\.json"):
        Runtime(repository, kind, "fp32", threads=1)


@pytest.mark.parametrize(
    ("able", "flags", "quantised", "picked", "why"),
    [
        (["FP32", "BF16", "INT8"], "avx2 avx512_vnni amx_bf16", ("uint8", 7), "bf16", ""),
        (["FP32", "BF16", "INT8"], "avx2 avx512_vnni", ("uint8", 7), "int8", ""),  # bf16 there is half as fast
        (["FP32", "BF16", "INT8"], "avx2 avx512_vnni", None, "bf16", "no graph of this repository has it"),
        (["FP32", "INT8"], "avx2 avx512_vnni", ("uint8", 7), "int8", ""),
        (["FP32", "INT8"], "avx2 avx512_vnni", ("uint8", 8), "int8", ""),
        (["FP32", "INT8"], "avx2 avx_vnni", ("uint8", 8), "int8", ""),
        (["FP32", "INT8"], "avx2 avx512_vnni", None, "fp32", "no graph of this repository has it"),
        (["FP32", "INT8"], "avx2 avx512_vnni", ("int8", 8), "fp32", "this repository's is TensorRT's"),
        (["FP32", "INT8"], "avx2", ("uint8", 7), "int8", ""),
        (["FP32", "INT8"], "avx2", ("uint8", 8), "fp32", "products of INT8 overflow where weights have 8 bits"),
        (["FP32", "INT8"], "sse4_2", ("uint8", 7), "fp32", "no AVX2 was found here"),
    ],
)
def test_the_fastest_precision_that_is_right_is_picked(
    able: list[str],
    flags: str,
    quantised: tuple[str, int] | None,
    picked: str,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On processors of these kinds; nothing is compiled before the first picture."""
    pytest.importorskip("openvino")

    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
            return able

        def set_property(self, properties: object) -> None: ...

    monkeypatch.setattr(module, "openvino_core", Core)
    told = tmp_path / "cpuinfo"
    told.write_text(f"flags : {flags}\n")
    for asked in (has_amx, has_avx2, has_vnni):
        monkeypatch.setattr(module, asked.__name__, partial(asked, told))
    shutil.copytree(ModelRepository.open().path, tmp_path / "copy")
    card = json.loads((tmp_path / "copy" / "model_card.json").read_text())
    if quantised is None:
        del card["quantization"]
    else:
        card["quantization"] |= dict(zip(("activations", "weight_bits"), quantised, strict=True))
    (tmp_path / "copy" / "model_card.json").write_text(json.dumps(card))
    runtime = Runtime(ModelRepository.open(tmp_path / "copy"), "openvino", threads=1)
    assert runtime.precision == picked
    assert runtime.name.endswith(f" {picked}")
    if why:
        with pytest.raises(InvalidOptions, match=why):
            Runtime(ModelRepository.open(tmp_path / "copy"), "openvino", "int8", threads=1)


@pytest.mark.parametrize("kind", ["openvino", "onnxruntime"])
def test_int8_answers_nearly_as_fp32_does(kind: str) -> None:
    pytest.importorskip(kind)
    if not has_avx2():
        pytest.skip("INT8 needs a processor with AVX2")
    exact, coarse = (Runtime(ModelRepository.open(), kind, precision, 1) for precision in ("fp32", "int8"))
    found = exact.detector(canvas(), np.array([0.0, 4], np.float32))["ROI_FEATURES"]
    one, other = (r.parsing(found, probabilities=False)["PARTS"] for r in (exact, coarse))
    assert 0.9 < (one == other).mean() < 1.0  # it is another graph
    one, other = (r.densepose(found)["IUV"][:, 0] for r in (exact, coarse))
    assert 0.9 < (one == other).mean() < 1.0
    assert len(coarse.detector(canvas(), np.array([0.0, 4], np.float32))["BOXES"]) == 4


_SHORT_OF_MEMORY = """
import re, resource, sys
import numpy as np
from parsing_rcnn.errors import OutOfMemory
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import ModelRepository
from parsing_rcnn.runtime import Runtime

kind, opened, extra = sys.argv[1], sys.argv[2] == "opened", int(sys.argv[3]) << 20
if opened:
    runtime = Runtime(ModelRepository.open(), kind, "fp32", threads=1)
else:
    Runtime(ModelRepository.open(), kind, "fp32", threads=1, graphs=())  # libraries, which are no model
have = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (have + extra, have + extra))
try:
    if not opened:
        runtime = Runtime(ModelRepository.open(), kind, "fp32", threads=1)
    runtime.detector(np.zeros((640, 640, 3), np.uint8), np.array([0, 1], np.float32))
except OutOfMemory as error:
    print(error.detail)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize(
    ("kind", "when", "megabytes"),
    [("onnxruntime", "closed", 20), ("onnxruntime", "opened", 20), ("openvino", "opened", 100)],
)
def test_a_shortage_of_memory_is_named_and_no_file_is_blamed(kind: str, when: str, megabytes: int) -> None:
    pytest.importorskip(kind)
    command = [sys.executable, "-c", _SHORT_OF_MEMORY, kind, when, str(megabytes)]
    environment = {**os.environ, "PARSING_RCNN_CACHE": "/dev/null"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.startswith("there is not enough memory to run detector/1/model.onnx ("), (
        done.stdout + done.stderr
    )


def test_wrong_words_are_named() -> None:
    repository = ModelRepository.open()
    with pytest.raises(InvalidOptions, match="'tensorflow': choose one of auto, openvino, onnxruntime"):
        Runtime(repository, "tensorflow")
    with pytest.raises(InvalidOptions, match="'int4': choose one of"):
        Runtime(repository, "auto", "int4")
    with pytest.raises(InvalidOptions, match="use openvino for bf16"):
        Runtime(repository, "onnxruntime", "bf16")


def test_two_onnxruntimes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "version", lambda name: "1.0")
    with pytest.raises(EngineUnavailable, match="onnxruntime and onnxruntime-gpu are both installed"):
        Runtime(ModelRepository.open())


def test_the_cache_is_where_the_user_says_and_never_a_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARSING_RCNN_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PARSING_RCNN_CACHE", str(tmp_path / "file" / "below"))
    assert cache_folder() is None


def test_a_user_without_a_home_has_no_cache_and_gets_no_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME", "PARSING_RCNN_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # whom passwd does not know
    assert cache_folder() is None
    monkeypatch.setenv("PARSING_RCNN_CACHE", "~/cache")
    assert cache_folder() is None
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("HOME", str(tmp_path))  # compose and systemd leave the ~ of a setting as it is
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("PARSING_RCNN_CACHE", "beside")
    assert cache_folder() == Path("beside")


@pytest.mark.parametrize("kind", ["auto", "openvino", "onnxruntime"])
def test_the_runtimes_report_to_nobody(kind: str, tmp_path: Path) -> None:
    """Neither by Python's sockets, nor by what ONNX Runtime would note in the user's folder to send later."""
    if kind != "auto":
        pytest.importorskip(kind)
    script = (
        "import socket, sys\n"
        "def refuse(*arguments): sys.exit(f'somebody is called: {arguments}')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from parsing_rcnn.repository import ModelRepository\n"
        "from parsing_rcnn.runtime import Runtime\n"
        "runtime = Runtime(ModelRepository.open(), sys.argv[1], 'fp32', threads=1)\n"
        "assert runtime.kind == 'onnxruntime' or 'onnxruntime' not in sys.modules\n"
        "print(sorted(name for name in sys.modules if name.startswith('openvino_telemetry.')))\n"
    )
    kept = {
        name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    environment = {**kept, "HOME": str(tmp_path), "PARSING_RCNN_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", script, kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
    assert {p.name for p in tmp_path.iterdir()} <= {"cache"}


_FIRST_AT_ONCE = """
import threading
from parsing_rcnn.inference.compiled import openvino_core
openvino_core()
import openvino
together = threading.Barrier(4)
def first():
    together.wait()
    openvino.Type.f32.to_dtype()
threads = [threading.Thread(target=first) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_need_openvinos_types_first_at_once_do_not_wait_for_each_other() -> None:
    pytest.importorskip("openvino")
    for _ in range(4):  # without the table filled beforehand, from every sixth run to two in three hung
        subprocess.run([sys.executable, "-c", _FIRST_AT_ONCE], check=True, timeout=60)


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Properties of everything that OpenVINO compiles from now on."""
    openvino = pytest.importorskip("openvino")
    made: list[dict[str, object]] = []
    compile_model = openvino.Core.compile_model

    def spy(core: object, model: object, device: str, properties: dict[str, object]) -> object:
        made.append(properties)
        return compile_model(core, model, device, properties)

    monkeypatch.setattr(openvino.Core, "compile_model", spy)
    return made


def shared(properties: dict[str, object]) -> tuple[object, object, object]:
    """(threads, streams that share them, whether they are tied to cores) of a compilation."""
    names = ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "ENABLE_CPU_PINNING")
    threads, streams, tied = (properties[name] for name in names)
    return threads, streams, tied


def test_an_inference_beside_another_takes_half_of_the_cores_and_says_the_same(
    compilations: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 4)
    monkeypatch.setattr(module, "visible_cores", lambda: 4)
    contention = Threads()
    runtime = Runtime(ModelRepository.open(), "openvino", "fp32", graphs=("detector",), contention=contention)
    limits = np.array([0.0, 3], np.float32)
    alone = runtime.detector(canvas(), limits)
    with contention.running():
        beside = runtime.detector(canvas(), limits)
    for name, tensor in alone.items():
        np.testing.assert_allclose(beside[name], tensor, atol=1e-3, err_msg=name)
    assert [shared(own) for own in compilations] == [(4, 1, True), (4, 2, False)]


@pytest.mark.skipif(sys.platform != "linux", reason="Triton's models are processes of Linux")
@pytest.mark.parametrize("cores", [4, 3])  # the half of three is two
def test_a_process_that_computes_one_at_a_time_needs_no_second_stream(
    cores: int, compilations: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: cores)
    monkeypatch.setattr(module, "visible_cores", lambda: cores)
    contention = Siblings(0, 1)
    runtime = Runtime(ModelRepository.open(), "openvino", "fp32", graphs=("detector",), contention=contention)
    with contention.assuming(alone=False):
        runtime.detector(canvas(), np.array([0.0, 1], np.float32))
    assert [shared(own) for own in compilations] == [(2, 1, False)]


@pytest.mark.parametrize(
    ("threads", "usable", "visible", "expected"),
    [
        # a container's share of a larger machine: those of others are on its first cores
        (None, 2, 8, [(2, 1, False), (2, 2, False)]),
        (2, 8, 8, [(2, 1, False)]),  # who asks for some of the cores gets those, whoever else computes
        (None, 1, 1, [(1, 1, True)]),  # nothing to halve
    ],
)
def test_threads_and_cores_decide_on_sharing_and_pinning(
    threads: int | None,
    usable: int,
    visible: int,
    expected: list[tuple[int, int, bool]],
    compilations: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: usable)
    monkeypatch.setattr(module, "visible_cores", lambda: visible)
    contention = Threads()
    runtime = Runtime(ModelRepository.open(), "openvino", "fp32", threads, graphs=("detector",), contention=contention)
    runtime.detector(canvas(), np.array([0.0, 1], np.float32))
    with contention.running():
        runtime.detector(canvas(), np.array([0.0, 1], np.float32))
    assert [shared(own) for own in compilations] == expected  # alone and, where that is another one, beside others


_TWO_AFTER_ANOTHER = """
import ctypes, gc, os, signal
from parsing_rcnn.pipeline import Pipeline
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
first, second = (Pipeline(runtime="openvino") for _ in range(2))
del first
gc.collect()
del second
gc.collect()
blocks = [bytearray(1 << 16) for _ in range(2000)]
del blocks
ctypes.CDLL(None).malloc_trim(0)  # what is free is no memory any more
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is of glibc")
def test_a_signal_after_engines_have_gone_ends_nobody() -> None:
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", _TWO_AFTER_ANOTHER], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
