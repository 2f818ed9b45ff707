"""Dashboard, rules and what the gateways are scaled by name metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from parsing_rcnn.analyzer import ModelInfo
from parsing_rcnn.errors import BrokenModel, EngineUnavailable, OutOfMemory, ParsingRCNNError
from parsing_rcnn.people import People
from server.errors import Busy
from server.telemetry import Metrics

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
# of Triton's documentation
TRITON = {
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_queue_duration_us",
    "nv_gpu_utilization",
}
STAGES = {"queue", "decode", "preprocess", "detector", "parsing", "densepose", "postprocess", "encode", "total"}


def expressions() -> list[str]:
    board = json.loads((DEPLOY / "grafana/dashboards/parsing_rcnn.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
    return found + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def test_every_metric_exists() -> None:
    import numpy as np

    metrics = Metrics()
    metrics.requests.labels("analyze", "ok").inc()
    nobody = People(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (4, 4))
    metrics.observe(nobody, dict.fromkeys(STAGES, 1.0))
    metrics.observe_engine(lambda: False, lambda: ModelInfo("", "", "", {}, (), (), {}), lambda: {"triton:8001": False})
    exposed = set(re.findall(r"^([a-z_]+)", generate_latest(metrics.registry).decode(), re.MULTILINE))
    recorded = set(re.findall(r"record: (\S+)", (DEPLOY / "prometheus/rules.yml").read_text()))
    for expression in expressions():
        for name in re.findall(r"\b((?:parsing_rcnn|process|nv)_\w+)", expression):
            assert name in exposed | TRITON, f"{name} in {expression}"
    manifests = ("base/scaling.yaml", "overlays/gpus/triton-scaling.yaml")
    for adapter, manifest in zip(
        yaml.safe_load((DEPLOY / "prometheus/adapter.yaml").read_text())["rules"]["custom"], manifests, strict=True
    ):
        assert adapter["seriesQuery"].split("{")[0] in recorded
        assert f"name: {adapter['name']['as']}" in (DEPLOY / "kubernetes" / manifest).read_text()


def test_every_stage_and_outcome_exists() -> None:
    for expression in expressions():
        assert set(re.findall(r'stage!?="(\w+)"', expression)) <= STAGES
        for outcomes in re.findall(r'outcome=~?"([\w|-]+)"', expression):
            errors = (Busy, EngineUnavailable, BrokenModel, OutOfMemory, ParsingRCNNError)
            assert set(outcomes.split("|")) <= {error.code for error in errors}


def test_faults_are_counted_from_nought() -> None:
    """The rate of a counter that begins with its first fault is nought."""
    text = generate_latest(Metrics().registry).decode()
    (expression,) = [e for e in expressions() if ParsingRCNNError.code in e]
    counters = re.findall(r"(\w+_total)\{(\w+=\"[\w-]+\")\}", expression)
    assert len(counters) == 2
    for name, label in counters:
        assert re.search(rf"^{name}\{{{label}.*\}} 0.0$", text, re.MULTILINE), name


def promtool(*arguments: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool (Debian's package prometheus)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_hold_by_prometheus_own_word() -> None:
    promtool("check", "config", str(DEPLOY / "prometheus/prometheus.yml"))


@pytest.mark.parametrize(
    ("model", "reason", "fires"),
    [
        ("detector", "BACKEND", True),  # as a killed stub leaves it
        ("human_analysis", "OTHER", False),  # as truncated pictures, deadlines and callers who hang up leave them
        ("detector", "CANCELED", False),
        ("detector", "REJECTED", False),
    ],
)
def test_a_model_fails_by_its_own_fault(model: str, reason: str, fires: bool, tmp_path: Path) -> None:
    series = f'nv_inference_request_failure{{model="{model}",reason="{reason}",version="1"}}'
    alert = named("TritonModelFails")
    annotations = {k: v.replace("{{ $labels.model }}", model) for k, v in alert["annotations"].items()}
    labels = {"severity": "critical", "model": model}
    expected = {alert["alert"]: [{"exp_labels": labels, "exp_annotations": annotations}] * fires}
    fire({series: "0x8 3x40"}, "5m", expected, tmp_path)


@pytest.mark.parametrize(
    ("outcome", "fires"),
    [
        ("busy", "ParsingRcnnRefuses"),  # more gateways help
        ("engine-unavailable", "ParsingRcnnUnavailable"),  # Triton is down: they do not
        ("broken-model", "ParsingRcnnUnavailable"),
        ("out-of-memory", "ParsingRcnnUnavailable"),
        ("invalid-image", None),
    ],
)
def test_whoever_is_full_is_told_from_what_is_down(outcome: str, fires: str | None, tmp_path: Path) -> None:
    """Of 20 pictures a second one is refused: 5 %."""
    series = {
        'parsing_rcnn_requests_total{outcome="ok",route="analyze"}': "0+285x60",
        f'parsing_rcnn_requests_total{{outcome="{outcome}",route="analyze"}}': "0+15x60",
    }
    expected: dict[str, list[dict[str, Any]]] = {}
    for name in ("ParsingRcnnRefuses", "ParsingRcnnUnavailable"):
        alert = named(name)
        told = {"exp_labels": alert["labels"], "exp_annotations": alert["annotations"]}
        expected[name] = [told] if name == fires else []
    fire(series, "15m", expected, tmp_path)


NAMES = [f"triton-{k}.triton:8001" for k in range(4)]


@pytest.mark.parametrize(
    ("names", "targets", "fires"),
    [
        # in Kubernetes gateways know four names; two servers run while there is little to do
        ("1100", "11", None),
        ("1000", "11", 1),  # one serves another model
        ("1000", "10", 1),  # one is down
        ("1111", "1111", None),
        # without Kubernetes the servers of prometheus.yml are those that are named
        ("11", "11", None),
        ("10", "10", 1),
        ("0", "0", 0),
        ("11", "111", 2),  # a third one whose name the gateway was not given
        ("", "11", None),  # the gateway computes itself
    ],
)
@pytest.mark.parametrize("namespace", [{}, {"namespace": "parsing-rcnn"}])
def test_a_triton_is_away_where_it_is_there(
    names: str, targets: str, fires: int | None, namespace: dict[str, str], tmp_path: Path
) -> None:
    def named_series(metric: str, **labels: str) -> str:
        return metric + "{" + ",".join(f'{k}="{v}"' for k, v in (labels | namespace).items()) + "}"

    gateway = {"instance": "gateway:8080"}
    series = {named_series("parsing_rcnn_triton_up", url=NAMES[k], **gateway): f"{up}x40" for k, up in enumerate(names)}
    for k, up in enumerate(targets):
        series[named_series("up", job="triton", instance=f"triton-{k}:8002")] = f"{up}x40"
    series[named_series("up", job="gateway", **gateway)] = "1x40"
    series['up{job="triton",instance="other:8002",namespace="other"}'] = "1x40"
    alert = named("ParsingRcnnTritonAway")
    text = alert["annotations"]
    summary = text["summary"].replace("{{ $labels.instance }}", "gateway:8080").replace("{{ $value }}", str(fires))
    told = {"exp_labels": alert["labels"] | gateway | namespace, "exp_annotations": text | {"summary": summary}}
    fire(series, "9m", {alert["alert"]: [told] if fires is not None else []}, tmp_path)


def named(name: str) -> dict[str, Any]:
    """An alert of the rules."""
    rules = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
    found: list[dict[str, Any]] = [
        rule for group in rules["groups"] for rule in group["rules"] if rule.get("alert") == name
    ]
    (alert,) = found
    return alert


def fire(series: dict[str, str], at: str, expected: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Hold the alerts that Prometheus has at a time, of series sampled every 15 s, against those expected."""
    case = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": at, "alertname": alert, "exp_alerts": alerts} for alert, alerts in expected.items()
        ],
    }
    document = {"rule_files": [str(DEPLOY / "prometheus/rules.yml")], "tests": [case]}
    (folder / "case.yml").write_text(yaml.safe_dump(document))
    promtool("test", "rules", str(folder / "case.yml"))
