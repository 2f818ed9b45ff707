"""Manifests, rendered by kubectl and held against Kubernetes' own schemas."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.keys import KeyFile, count_keys

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "deploy" / "kubernetes"
TOOLS = ROOT / ".venv-deploy" / "bin"
OVERLAYS = ("cpu", "gpu", "gpus")
OPERATOR = "monitoring.coreos.com/v1"  # a cluster without it takes nothing of this kind

needs_tools = pytest.mark.skipif(
    not (TOOLS / "kubectl").is_file(), reason="needs kubectl and kubernetes-validate: make .venv-deploy/.ready"
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    return {overlay: render(MANIFESTS / "overlays" / overlay) for overlay in OVERLAYS}


def render(folder: Path) -> list[dict[str, Any]]:
    command = [str(TOOLS / "kubectl"), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def one(resources: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(r for r in resources if r["kind"] == kind and r["metadata"]["name"] == name)


@needs_tools
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_them(rendered: dict[str, list[dict[str, Any]]], overlay: str, tmp_path: Path) -> None:
    assert not [r for r in rendered[overlay] if r["apiVersion"] == OPERATOR]
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(rendered[overlay]))
    command = [str(TOOLS / "kubernetes-validate"), "--strict", str(tmp_path / "all.yaml")]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(r["metadata"]["namespace"] == "parsing-rcnn" for r in rendered[overlay])


@needs_tools
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_ports_and_users_fit(rendered: dict[str, list[dict[str, Any]]], overlay: str) -> None:
    resources = rendered[overlay]
    pods = {
        r["metadata"]["name"]: r["spec"]["template"] for r in resources if r["kind"] in ("Deployment", "StatefulSet")
    }
    for service in (r for r in resources if r["kind"] == "Service"):
        pod = pods[service["metadata"]["name"]]
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        open_ports = {p["name"] for p in pod["spec"]["containers"][0]["ports"]}
        assert {p.get("targetPort", p["name"]) for p in service["spec"]["ports"]} <= open_ports
    for pod in pods.values():
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert pod["spec"]["enableServiceLinks"] is False  # variables of Kubernetes begin as ours
        assert pod["spec"]["terminationGracePeriodSeconds"] > 25  # what was accepted is answered first
    scaler = one(resources, "HorizontalPodAutoscaler", "gateway")
    assert scaler["spec"]["scaleTargetRef"]["name"] in pods


@needs_tools
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_how_many_there_are_is_the_scalers_alone(rendered: dict[str, list[dict[str, Any]]], overlay: str) -> None:
    """A number in what it scales would undo its work at every `kubectl apply`."""
    for scaler in (r["spec"] for r in rendered[overlay] if r["kind"] == "HorizontalPodAutoscaler"):
        target = scaler["scaleTargetRef"]
        assert "replicas" not in one(rendered[overlay], target["kind"], target["name"])["spec"]
        assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"]


@needs_tools
def test_the_arithmetic_of_scaling_knows_the_limits(rendered: dict[str, list[dict[str, Any]]]) -> None:
    text = (ROOT / "deploy/SCALING.md").read_text()
    pods, most, rate = map(int, re.findall(r"(\d+) pods of 2 cores .*is (\d+), which are (\d+) a second", text)[0])
    assert one(rendered["cpu"], "HorizontalPodAutoscaler", "gateway")["spec"]["maxReplicas"] == most
    assert rate == pytest.approx(1000 * most / pods, rel=0.01)
    assert one(rendered["gpus"], "HorizontalPodAutoscaler", "triton")["spec"]["maxReplicas"] == int(
        re.findall(r"\((\d+) as it comes\)", text)[0]
    )


@needs_tools
def test_gateways_know_every_triton(rendered: dict[str, list[dict[str, Any]]]) -> None:
    for overlay in ("gpu", "gpus"):
        servers = one(rendered[overlay], "StatefulSet", "triton")["spec"]
        arguments = one(rendered[overlay], "Deployment", "gateway")["spec"]["template"]["spec"]["containers"][0]["args"]
        named = arguments[arguments.index("--triton-url") + 1].split(",")
        most = servers.get("replicas")
        if most is None:
            scaler = one(rendered[overlay], "HorizontalPodAutoscaler", "triton")["spec"]
            assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "triton"}
            most = scaler["maxReplicas"]
        assert named == [f"triton-{k}.{servers['serviceName']}:8001" for k in range(most)]


@needs_tools
def test_a_pod_of_triton_builds_the_engines_that_it_reads(rendered: dict[str, list[dict[str, Any]]]) -> None:
    for overlay in ("gpu", "gpus"):
        pod = one(rendered[overlay], "StatefulSet", "triton")["spec"]["template"]["spec"]
        assert {v["name"]: v["emptyDir"].get("medium") for v in pod["volumes"]} == {"shm": "Memory", "engines": None}
        (builder,), (server,) = pod["initContainers"], pod["containers"]
        (written,) = builder["volumeMounts"]
        assert {**written, "readOnly": True} in server["volumeMounts"]
        assert server["args"][server["args"].index("--repository") + 1] == f"{written['mountPath']}/repository"
        assert builder["resources"]["limits"]["nvidia.com/gpu"] == server["resources"]["limits"]["nvidia.com/gpu"]


@needs_tools
def test_slices_of_each_card_that_is_named(tmp_path: Path) -> None:
    """The comment marks taken away, and each card's name put in, as the comment says."""
    shutil.copytree(MANIFESTS, tmp_path / "kubernetes")
    path = tmp_path / "kubernetes" / "overlays" / "gpus" / "kustomization.yaml"
    text = path.read_text()
    listed = dict(re.findall(r"([AH]\d00(?: \d\d GB)?) +(mig-\S+)", text))
    # a seventh of the processors and an eighth of the memory, by NVIDIA's table of profiles
    assert listed == {
        "A100 40 GB": "mig-1g.5gb",
        "A100 80 GB": "mig-1g.10gb",
        "H100 80 GB": "mig-1g.10gb",
        "H200": "mig-1g.18gb",
    }
    begin = text.index("  # - target:")
    end = text.index("  - target: {kind: Deployment")
    taken = re.sub(r"^  # ", "  ", text[begin:end], flags=re.MULTILINE)
    for name in set(listed.values()):
        path.write_text(text[:begin] + taken.replace("mig-1g.18gb", name) + text[end:])
        command = [str(TOOLS / "kubectl"), "kustomize", str(path.parent)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        pod = one(list(yaml.safe_load_all(done.stdout)), "StatefulSet", "triton")["spec"]["template"]["spec"]
        for container in (*pod["initContainers"], *pod["containers"]):
            assert container["resources"]["limits"].keys() == {"memory", f"nvidia.com/{name}"}


@needs_tools
def test_the_operator_gets_the_rules_and_finds_the_services(rendered: dict[str, list[dict[str, Any]]]) -> None:
    resources = render(MANIFESTS / "monitoring")
    assert {(r["apiVersion"], r["metadata"]["namespace"]) for r in resources} == {(OPERATOR, "parsing-rcnn")}
    rules = one(resources, "PrometheusRule", "parsing-rcnn")["spec"]
    assert rules == yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
    for name in ("gateway", "triton"):
        monitor = one(resources, "ServiceMonitor", name)["spec"]
        service = one(rendered["gpu"], "Service", name)
        assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert {e["port"] for e in monitor["endpoints"]} <= {p["name"] for p in service["spec"]["ports"]}


def commands(text: str, *starts: str) -> list[str]:
    """The lines of a text that begin with one of these, in its order."""
    return [line for line in text.splitlines() if line.startswith(starts)]


def test_the_readme_gives_prometheus_its_key_before_it_is_asked_for() -> None:
    apply = "kubectl apply -k deploy/kubernetes/"
    wanted = ("TOKEN=", f"{apply}overlays/", "kubectl -n", f"{apply}monitoring")
    found = commands((ROOT / "deploy/README.md").read_text(), *wanted)
    assert len(found) == len(wanted)
    assert all(line.startswith(start) for line, start in zip(found, wanted, strict=True))


@needs_tools
@pytest.mark.parametrize("page", ["README.md", "kubernetes/monitoring/monitors.yaml"])
def test_the_secret_that_the_documentation_makes_is_what_the_monitor_reads(tmp_path: Path, page: str) -> None:
    text = re.sub("^# ", "", (ROOT / "deploy" / page).read_text(), flags=re.MULTILINE)
    script = "\n".join(commands(text, "TOKEN=", "kubectl -n"))
    keys = tmp_path / "deploy/kubernetes/base/keys.txt" if "deploy/kubernetes" in script else tmp_path / "keys.txt"
    keys.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(MANIFESTS / "base" / "keys.txt", keys)
    script = script.replace("create secret", "create --dry-run=client -o yaml secret")
    path = f"{Path(sys.executable).parent}:{TOOLS}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    secret = yaml.safe_load(done.stdout)
    monitor = one(render(MANIFESTS / "monitoring"), "ServiceMonitor", "gateway")
    wanted = monitor["spec"]["endpoints"][0]["authorization"]["credentials"]
    assert (secret["metadata"]["namespace"], secret["metadata"]["name"]) == ("parsing-rcnn", wanted["name"])
    assert KeyFile(keys).name_of(base64.b64decode(secret["data"][wanted["key"]]).decode()) == "prometheus"


def test_the_key_file_of_the_base_lets_nobody_in() -> None:
    assert count_keys(MANIFESTS / "base" / "keys.txt") == {}
    keys = KeyFile(MANIFESTS / "base" / "keys.txt")
    assert keys.name_of("") is None
    assert keys.name_of("nobody") is None


def test_the_kserve_variant_is_the_gateway() -> None:
    service = yaml.safe_load((MANIFESTS / "kserve" / "inferenceservice.yaml").read_text())
    pod = service["spec"]["predictor"]
    container = pod["containers"][0]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert container["args"][0] == "serve"
    gateway = next(yaml.safe_load_all((MANIFESTS / "base" / "gateway.yaml").read_text()))["spec"]["template"]["spec"]
    for name in ("automountServiceAccountToken", "enableServiceLinks"):
        assert pod[name] is gateway[name] is False
    (own,) = gateway["containers"]
    both = gateway["securityContext"] | own["securityContext"]
    assert container["securityContext"] | {"fsGroup": both["fsGroup"]} == both  # that is for its mounted keys
    assert container["resources"] == own["resources"]
    assert [v for v in own["volumeMounts"] if v["name"] == "tmp"] == container["volumeMounts"]
    assert [v for v in gateway["volumes"] if v["name"] == "tmp"] == pod["volumes"]
