"""The Dockerfile and compose.yaml, as far as that goes without a Docker engine."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from benchmarks.serving import free_ports
from server.supervisor.launch import Launch

ROOT = Path(__file__).resolve().parents[2]
HADOLINT = ROOT / ".venv-deploy" / "bin" / "hadolint"


@dataclass
class Stage:
    """A stage of the Dockerfile: what it begins from and its instructions, as (word, rest)."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [rest for found, rest in self.instructions if found == word]


def stages() -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = found[name] = Stage(name, base)
        elif found:
            current.instructions.append((word, rest.strip()))
    return found


def ignored(path: Path) -> bool:
    """Whether .dockerignore keeps a file of the clone out of the build."""
    kept = True
    parts = path.relative_to(ROOT).as_posix()
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        above = [parts, *(str(p) for p in Path(parts).parents if str(p) != ".")]
        name_only = pattern.removeprefix("**/") if pattern.startswith("**/") else None
        hit = any(
            fnmatch.fnmatch(a, pattern) or (name_only and fnmatch.fnmatch(Path(a).name, name_only)) for a in above
        )
        if pattern == "**" or hit:
            kept = line.startswith("!")
    return not kept


def test_the_default_image_is_the_gateway_and_runs_as_nobody_special() -> None:
    found = stages()
    assert list(found)[-1] == "gateway"
    for name in ("gateway", "triton"):
        stage = found[name]
        user = stage.all("USER")[-1]
        assert user.split(":")[0] not in ("0", "root")
        words = [word for word, _ in stage.instructions]
        assert words.index("USER") < words.index("ENTRYPOINT")
        assert words.index("USER") > max(k for k, w in enumerate(words) if w in ("RUN", "COPY"))
        assert stage.all("HEALTHCHECK")
        assert all(rest.startswith("[") for rest in stage.all("ENTRYPOINT") + stage.all("CMD"))  # signals arrive
    assert not any("cuda" in rest.lower() for _, rest in found["gateway"].instructions)


def test_every_image_is_pinned() -> None:
    arguments = re.findall(r"^ARG (\w+)=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    named = {f"${{{name}}}" for name, _ in arguments}
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    images = [value for _, value in arguments]
    images += [s["image"] for s in compose["services"].values() if not s["image"].startswith("parsing-rcnn")]
    for image in images:
        assert re.search(r":v?\d+\.\d+", image), f"{image} has no version"
    for stage in stages().values():
        assert stage.base in named or stage.base in stages()


def test_what_is_copied_is_there_and_is_sent_to_the_build() -> None:
    for stage in stages().values():
        for copy in stage.all("COPY"):
            if copy.startswith("--from="):
                assert copy.split()[0].removeprefix("--from=") in stages()
                continue
            for source in copy.split()[:-1]:
                assert (ROOT / source).exists(), source
                files = [ROOT / source] if (ROOT / source).is_file() else list((ROOT / source).rglob("*.py"))
                assert not any(ignored(file) for file in files), source
    for kept_out in (".git/HEAD", "tests/conftest.py", "out/x.json", "model_repository/detector/1/model.plan"):
        assert ignored(ROOT / kept_out), kept_out
    assert not ignored(ROOT / "model_repository/detector/1/model.onnx")


def copied(stage: Stage, into: Path) -> None:
    """Do what the stage's COPY lines do."""
    for copy in stage.all("COPY"):
        if copy.startswith("--from=environment /opt/parsing-rcnn"):
            copied(stages()["environment"], into)
        elif not copy.startswith("--from="):
            *sources, target = copy.split()
            for source in sources:
                place = into / target / source if target.endswith("/") else into / target
                place.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place, dirs_exist_ok=True)
                else:
                    shutil.copy(ROOT / source, place)


def test_the_files_of_the_gateways_image_serve(tmp_path: Path) -> None:
    """Nothing that it needs was left out: the command runs on those files alone."""
    copied(stages()["gateway"], tmp_path / "image")
    (port,) = free_ports(1)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PARSING_RCNN_")},
        "PYTHONPATH": f"{tmp_path}/image:{tmp_path}/image/client",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PARSING_RCNN_PORT": str(port),
    }
    command = [sys.executable, "-m", "parsing_rcnn", "serve"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path / "image", stderr=subprocess.PIPE) as process:
        try:
            end = time.monotonic() + 120
            while True:
                assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
                assert time.monotonic() < end
                try:
                    assert urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).status == 200
                    break
                except OSError:
                    time.sleep(0.2)
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGTERM)  # uvicorn drains, and then ends as it was told to


def test_the_files_of_tritons_image_know_its_command(tmp_path: Path) -> None:
    copied(stages()["triton"], tmp_path / "image")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "image"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "200",
    }
    words = re.findall(r'"([^"]+)"', stages()["triton"].all("CMD")[-1])
    command = [sys.executable, "-m", "parsing_rcnn", *words, "--help"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Start a Triton server" in done.stdout
    for model in ("preprocess", "detector", "parsing"):
        config = Path("model_repository", model, "configs", "cpu.pbtxt")
        assert (tmp_path / "image" / config).is_file()
        assert not ignored(ROOT / config)


def test_the_files_of_the_graphs_image_know_their_command(tmp_path: Path) -> None:
    stage = stages()["graphs"]
    copied(stage, tmp_path / "image")
    (run,) = [rest for rest in stage.all("RUN") if "parsing_rcnn export" in rest]
    asked = run.split(">")[0].split()[4:]  # after `python -m parsing_rcnn export`
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "image"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "parsing_rcnn", "export", *asked, "--help"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    options = {word for word in asked if word.startswith("--")}
    assert len(options) == 5
    assert {option for option in options if option not in shown} == set()
    # engines are of the repository that the other images serve, by its card: version, canvases of all its models
    assert (tmp_path / "image" / asked[0] / "model_card.json").is_file()
    assert not options & {"--card", "--version", "--size"}


def test_each_image_has_the_plugin_library_that_it_opens() -> None:
    """trtexec and Triton open a library each: see export/plugin/src/register.cpp."""
    found = stages()
    (build,) = found["plugin"].all("RUN")
    assert "--target prcnn_plugin prcnn_triton" in build
    (run,) = [rest for rest in found["graphs"].all("RUN") if "parsing_rcnn export" in rest]
    builders = re.findall(r"--plugin (\S+)", run)
    assert [Path(library).name for library in builders] == ["libprcnn_plugin.so"]

    def put(stage: Stage, home: str) -> set[str]:
        places = set()
        for copy in stage.all("COPY"):
            _, *sources, target = copy.split()
            for source in sources:
                if copy.startswith("--from=plugin"):
                    places.add(str(Path(home, target, Path(source).name if target.endswith("/") else "")))
        return places

    triton = str(Launch(Path("/opt/parsing-rcnn/model_repository")).plugin)
    assert put(found["triton-plugin"], "/opt/parsing-rcnn") == {triton}
    # the image `engines` hands all of /opt/engines/build on, to /models
    volume = str(Launch(Path("/models/repository")).plugin)
    engines = {place.replace("/opt/engines", "/models") for place in put(found["engines"], "/")}
    assert engines == {*builders, volume}


@dataclass
class Builder:
    """build_engines.sh beside stand-ins for NVIDIA's two programs: what is under test is what it does around them."""

    root: Path
    version: str = "v101300"
    gpu: str | None = "NVIDIA H100 PCIe, 9.0"
    trtexec: str = 'for word; do case $word in --saveEngine=*) echo engine > "${word#--saveEngine=}" ;; esac; done'

    def run(self) -> subprocess.CompletedProcess[str]:
        process = self.start()
        out, said = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, said)

    def start(self) -> subprocess.Popen[str]:
        programs = self.root / "programs"
        programs.mkdir(exist_ok=True)
        asked = f"echo '&&&& RUNNING TensorRT.trtexec [TensorRT {self.version}]'\n{self.trtexec}\n"
        seen = "exit 9\n" if self.gpu is None else f"echo '{self.gpu}'\n"
        for name, text in (("trtexec", asked), ("nvidia-smi", seen)):
            (programs / name).write_text("#!/bin/sh\n" + text)
            (programs / name).chmod(0o755)
        return subprocess.Popen(
            [str(ROOT / "scripts" / "build_engines.sh"), str(self.root / "from"), str(self.root / "to")],
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    commands = []
    for model in ("detector", "parsing"):
        folder = Path("repository", model, "1")
        (tmp_path / "from" / folder).mkdir(parents=True)
        (tmp_path / "from" / folder / "model.tensorrt.onnx").write_text(model)
        engine = tmp_path / "to" / folder / "model.plan"
        commands.append(f"trtexec --onnx={engine.with_name('model.tensorrt.onnx')} --saveEngine={engine}\n")
    (tmp_path / "from" / "build").mkdir()
    (tmp_path / "from" / "trtexec.txt").write_text("".join(commands))
    (tmp_path / "to").mkdir()
    return Builder(tmp_path)


def test_engines_are_built_once_for_a_gpu_a_tensorrt_and_graphs(builder: Builder) -> None:
    def built() -> bool:
        done = builder.run()
        assert done.returncode == 0, done.stderr
        assert len(list(builder.root.glob("to/repository/*/1/model.plan"))) == 2
        return "2 engines" in done.stdout

    assert built()
    assert not built()
    builder.version = "v110400"
    assert built()
    builder.gpu = "NVIDIA A10, 8.6"
    assert built()
    assert not built()
    (builder.root / "from/repository/parsing/1/model.tensorrt.onnx").write_text("other weights")
    assert built()


def test_timings_are_kept_for_one_gpu_and_one_tensorrt(builder: Builder) -> None:
    """Kernels that are the fastest on one card are not on another, whose build would take their word for it."""
    timings = builder.root / "to" / "cache" / "trtexec_timings.cache"
    builder.trtexec += f"\necho timed >> {timings}"

    def found() -> int:
        done = builder.run()
        assert done.returncode == 0, done.stderr
        return len(timings.read_text().splitlines()) // 2  # of each build: two engines

    (builder.root / "to" / "cache").mkdir()
    timings.write_text("of an earlier version of this script, which did not say whose they are\n" * 2)
    assert found() == 1
    (builder.root / "from/repository/parsing/1/model.tensorrt.onnx").write_text("other weights")
    assert found() == 2
    builder.gpu = "NVIDIA A10, 8.6"
    assert found() == 1
    builder.version = "v110400"
    assert found() == 1


def test_engines_that_cannot_be_built_are_no_success(builder: Builder) -> None:
    builder.trtexec = 'case "$*" in *parsing*) echo "[E] no kernel" >&2; exit 1 ;; esac'
    for _ in range(2):  # what failed is not taken for done the next time
        done = builder.run()
        assert done.returncode == 1
        assert "[E] no kernel" in done.stderr
        assert "error: trtexec failed" in done.stderr
    builder.gpu = None
    done = builder.run()
    assert done.returncode == 1
    assert "error: no GPU: start the container with --gpus all" in done.stderr


def test_a_stop_ends_the_build_and_leaves_nothing_that_counts_as_built(builder: Builder) -> None:
    """A pod that is deleted while engines are built would hold its GPU for the whole grace period."""
    running = builder.root / "running"
    builder.trtexec = f'case "$*" in *saveEngine*) echo $$ > {running}; exec sleep 600 ;; esac'
    process = builder.start()
    while not running.is_file() or not running.read_text():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 143, said
    with pytest.raises(ProcessLookupError):
        os.kill(int(running.read_text()), 0)
    assert not (builder.root / "to" / "made_of").exists()


def test_hadolint_has_nothing_to_say() -> None:
    if not HADOLINT.is_file():
        pytest.skip("needs hadolint in an environment of its own: make .venv-deploy/.ready")
    done = subprocess.run([str(HADOLINT), str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_compose_names_what_exists() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services = compose["services"]
    scraped = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    for host in ("gateway", "gateway-triton"):  # a machine's own pages, and Prometheus, and nobody else's pages
        assert services[host]["environment"] == {"PARSING_RCNN_HOSTS": host}
        assert f'"{host}:8080"' in scraped
    for name, service in services.items():
        for place in service.get("volumes", []):
            source = place.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in compose["volumes"], place
        build = service.get("build")
        assert build is None or build["target"] in stages()
        for other in service.get("depends_on", []):
            assert other in services
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} would be open to other machines"
    assert services["triton"]["shm_size"] == "1gb"
    # a machine without a GPU starts it as well: the GPU is an addition
    assert "deploy" not in services["triton"]
    addition = yaml.safe_load((ROOT / "compose.gpu.yaml").read_text())["services"]
    assert addition.keys() == {"engines", "triton"}
    for service in addition.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
        assert service["build"]["target"] in stages()
    # Triton waits for the engines, and reads them where they are written
    assert addition["triton"]["depends_on"] == {"engines": {"condition": "service_completed_successfully"}}
    written = addition["engines"]["volumes"][0].split(":")
    assert addition["triton"]["volumes"] == [":".join([*written, "ro"])]
    assert f"{written[1]}/repository" in addition["triton"]["command"]
    assert stages()["engines"].all("VOLUME") == [written[1]]
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = [t for job in prometheus["scrape_configs"] for s in job["static_configs"] for t in s["targets"]]
    assert {target.split(":")[0] for target in targets} <= services.keys()
