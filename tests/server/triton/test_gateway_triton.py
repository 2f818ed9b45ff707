"""The gateway before a real Triton: the same answers as the embedded engine, and what clients see when it breaks."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from benchmarks.frames import drawn_person
from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs import npz
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import CARD, GRAPHS
from server.app import create_app
from server.engines.shared_memory import FOLDER, PREFIX
from server.engines.triton import _PROBE_EVERY
from server.settings import Settings
from tests.server.helpers import spare_ports
from tests.server.triton.conftest import Running

SECONDS = 'parsing_rcnn_stage_seconds_sum{stage="total"}'
NPZ = {"accept": "application/x-npz"}


@pytest.fixture(scope="module")
def photo() -> bytes:
    return cv2.imencode(".jpg", drawn_person())[1].tobytes()


@pytest.fixture(scope="module")
def gateway(triton: Running) -> Iterator[TestClient]:
    dead = spare_ports(1)[0]
    # one of two addresses is nobody's: the gateway lives with the other
    settings = Settings(engine="triton", triton_url=f"127.0.0.1:{dead},{triton.grpc}")
    with TestClient(create_app(settings)) as client:
        until(lambda: client.get("/readyz").status_code == 200, 120)
        yield client


def until(what: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.1)


def close(found: People, people: People) -> None:
    """As equal as answers of unequal batches are."""
    if len(people):
        assert found.parts is not None
        assert found.iuv is not None
        assert people.iuv is not None
        assert np.abs(found.boxes - people.boxes).max() <= 0.1
        assert (found.parts == people.parts).mean() >= 0.999
        assert (found.iuv[:, 0] == people.iuv[:, 0]).mean() >= 0.999


@pytest.mark.parametrize("query", ["", "&tasks=parsing&max_side=300", "&tasks=densepose", "&tasks="])
def test_the_same_answer_as_the_embedded_engine(
    gateway: TestClient, pipeline: Pipeline, photo: bytes, query: str
) -> None:
    with TestClient(create_app(Settings(), lambda: pipeline)) as embedded:
        until(lambda: embedded.get("/readyz").status_code == 200, 120)
        path = f"/v1/analyze?confidence=0&max_people=3{query}"
        answers = [client.post(path, content=photo, headers=NPZ) for client in (embedded, gateway)]
    assert [answer.status_code for answer in answers] == [200, 200]
    ours, theirs = (npz.to_arrays(npz.decode(answer.content)) for answer in answers)
    assert ours.keys() == theirs.keys()
    assert len(ours["boxes"])
    for name, array in ours.items():
        np.testing.assert_array_equal(theirs[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("more", "mine"),
    [
        (
            {"name": "mine", "tasks": {"parsing": {"trained": False}}},
            "mine 7.1 (cihp; trained: nothing; weights {own})",
        ),
        ({"weights_sha256": 64 * "0"}, "light 7.1 (cihp; trained: densepose, parsing; weights 000000000000)"),
    ],
)
def test_a_gateway_with_the_card_of_other_weights_is_not_ready(
    triton: Running, repository: Path, tmp_path: Path, more: dict[str, object], mine: str
) -> None:
    for name in GRAPHS:
        (tmp_path / name).symlink_to(repository / name)
    card = json.loads((repository / CARD).read_text())
    (tmp_path / CARD).write_text(json.dumps({**card, **more}))
    settings = Settings(engine="triton", triton_url=triton.grpc, repository=tmp_path)
    own = card["weights_sha256"][:12]
    serves, mine = f"light 7.1 (cihp; trained: densepose, parsing; weights {own})", mine.format(own=own)
    with TestClient(create_app(settings)) as client:
        said = f"Triton serves {serves}, this gateway's model card is of {mine}: give both the same --repository"
        until(lambda: said in client.get("/readyz").json().get("detail", ""), 120)
        assert client.get("/v1/models").status_code == 503


@pytest.mark.parametrize("query", ["", "&exact=true"])
def test_the_time_in_triton_is_counted(gateway: TestClient, photo: bytes, query: str) -> None:
    def seconds() -> float:
        lines = gateway.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(SECONDS))

    before = seconds()
    answer = gateway.post(f"/v1/analyze?confidence=0&max_people=2{query}", content=photo)
    document = answer.json()
    spent = document["timings_ms"]["triton"]
    assert spent > 0
    assert document["timings_ms"] == {"triton": spent, "total": spent}
    assert document["time"] == pytest.approx(spent / 1000, abs=1e-5)
    stages = dict(re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"]))
    assert list(stages) == ["queue", "triton", "encode", "total"]
    assert float(stages["total"]) >= float(stages["triton"]) == pytest.approx(spent, abs=0.06)
    assert seconds() - before >= spent / 1000 - 1e-6


def test_the_time_in_triton_is_inference_to_the_protocol(gateway: TestClient, photo: bytes) -> None:
    def spent() -> int:
        (model,) = gateway.get("/v2/models/densepose/stats").json()["model_stats"]
        return int(model["inference_stats"]["compute_infer"]["ns"])

    before = spent()
    image = {"name": "IMAGE", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}
    asked = {"inputs": [{**image, "data": [base64.b64encode(photo).decode()]}], "outputs": [{"name": "BOXES"}]}
    assert gateway.post("/v2/models/densepose/infer", json=asked).status_code == 200
    assert spent() > before
    beyond = gateway.post("/v2/models/densepose/infer", json={**asked, "parameters": {"max_people": 400 * "9"}})
    assert beyond.status_code == 422, beyond.text


def test_the_exact_paste_goes_step_by_step(gateway: TestClient, pipeline: Pipeline, photo: bytes) -> None:
    with TestClient(create_app(Settings(), lambda: pipeline)) as embedded:
        until(lambda: embedded.get("/readyz").status_code == 200, 120)
        path, accept = "/v1/analyze?confidence=0&max_people=2&exact=true&render=parts", {"accept": "image/png"}
        ours, theirs = (client.post(path, content=photo, headers=accept) for client in (embedded, gateway))
    assert ours.status_code == theirs.status_code == 200
    assert ours.content == theirs.content


def test_many_at_once_get_their_own_answer(gateway: TestClient, pipeline: Pipeline) -> None:
    """Pictures of unequal sizes, sixteen on their way: boxes within 0.1 px, labels equal on 99.9 % of the cells."""
    drawn = drawn_person()
    pictures = [cv2.imencode(".png", drawn[:, : 300 + 40 * k])[1].tobytes() for k in range(16)]
    answers: list[Response | None] = [None] * len(pictures)

    def send(index: int) -> None:
        answers[index] = gateway.post("/v1/analyze?confidence=0&max_people=2", content=pictures[index], headers=NPZ)

    threads = [threading.Thread(target=send, args=(index,)) for index in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for picture, answer in zip(pictures, answers, strict=True):
        assert answer is not None
        assert answer.status_code == 200
        found, people = npz.decode(answer.content), pipeline.analyze(picture, Options(confidence=0.0, max_people=2))
        assert found.image_size == people.image_size
        assert len(found) == len(people)
        close(found, people)


def test_a_server_that_answers_is_not_probed(gateway: TestClient, triton: Running, photo: bytes) -> None:
    import tritonclient.grpc as library

    client = library.InferenceServerClient(triton.grpc)

    def answered() -> int:
        (model,) = client.get_inference_statistics("human_analysis").model_stats
        return int(model.inference_stats.success.count)

    before, end = answered(), time.monotonic() + 8
    asked = []
    while time.monotonic() < end:
        begin = time.monotonic()
        assert gateway.post("/v1/analyze?max_people=1", content=photo, headers=NPZ).status_code == 200
        asked.append((begin, time.monotonic()))
    sent = len(asked)
    until(lambda: answered() >= before + sent, 120)  # Triton counts a request when its answer is gone
    probes = answered() - before - sent
    asked.append((end, time.monotonic()))
    # on a busy machine: for so long nobody was answered that there was a probe
    silent = sum(int((got - begin) / _PROBE_EVERY) for (begin, _), (_, got) in pairwise(asked))
    assert probes <= 1 + silent  # one may have been on its way at the beginning
    client.close()


def test_through_shared_memory(triton: Running, pipeline: Pipeline, photo: bytes) -> None:
    """The same bytes; a server that lost the memory gets the picture over the connection, and then the memory again."""
    import tritonclient.grpc as library

    client = library.InferenceServerClient(triton.grpc)
    people = pipeline.analyze(photo, Options(confidence=0.0, max_people=3))

    def slots() -> list[str]:
        return [name for name in client.get_system_shared_memory_status().regions if name.startswith(PREFIX)]

    def lost() -> bool:
        with suppress(library.InferenceServerException):  # Triton lets go of a picture a moment after it answered
            client.unregister_system_shared_memory()
        return not slots()

    settings = Settings(engine="triton", triton_url=triton.grpc, triton_shared_memory=True)
    with TestClient(create_app(settings)) as gateway:
        until(lambda: gateway.get("/readyz").status_code == 200, 120)
        for known in (0, 1, 0, 1):
            if not known:
                until(lost, 120)
            answer = gateway.post("/v1/analyze?confidence=0&max_people=3", content=photo, headers=NPZ)
            found = npz.decode(answer.content)
            for name in ("boxes", "scores", "parts", "iuv"):
                np.testing.assert_array_equal(getattr(found, name), getattr(people, name), err_msg=name)
            assert gateway.post("/v1/analyze", content=photo[:3000]).status_code == 400
        (name,) = slots()
        assert (FOLDER / name).stat().st_mode & 0o777 == 0o600
    assert slots() == []
    assert not (FOLDER / name).exists()
    client.close()


def test_bad_pictures_are_the_clients_fault(gateway: TestClient) -> None:
    answer = gateway.post("/v1/analyze", content=b"nothing")
    assert answer.status_code == 415
    assert gateway.get("/readyz").status_code == 200


def children_of(pid: int, name: str) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid), "-f", name], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


class Load:
    """Four clients that send one picture after the other, until stopped."""

    def __init__(self, gateway: TestClient, photo: bytes) -> None:
        self.answers: list[Response] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(gateway, photo)) for _ in range(4)]

    def _run(self, gateway: TestClient, photo: bytes) -> None:
        while not self._stop.is_set():
            answer = gateway.post("/v1/analyze?confidence=0&max_people=2", content=photo, headers=NPZ)
            self.answers.append(answer)
            if answer.status_code != 200:
                time.sleep(0.1)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        until(lambda: len(self.answers) >= 4, 120)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def refused(self) -> list[Response]:
        return [answer for answer in self.answers if answer.status_code != 200]

    def served_again(self) -> bool:
        """Whether somebody was refused and the last dozen were not: more than were on their way before."""
        return bool(self.refused()) and all(answer.status_code == 200 for answer in self.answers[-12:])


@pytest.mark.parametrize("victim", ["detector", "parsing", "server"])
def test_a_killed_process_is_a_503_and_then_service(
    gateway: TestClient, triton: Running, pipeline: Pipeline, photo: bytes, victim: str
) -> None:
    server = triton.supervisor.pid
    assert server is not None
    pids = [server] if victim == "server" else children_of(server, f"{victim}_0_0")
    assert pids, f"no process of {victim}"
    with Load(gateway, photo) as load:
        os.kill(pids[0], signal.SIGKILL)
        until(load.served_again, 120)
    if victim == "server":
        left = subprocess.run(["pgrep", "-g", str(server)], capture_output=True, text=True, check=False)
        assert not left.stdout, "processes of the killed server live on"
    for answer in load.refused():
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.headers["content-type"] == "application/problem+json"
    people = pipeline.analyze(photo, Options(confidence=0.0, max_people=2))
    for answer in load.answers:
        if answer.status_code == 200:
            close(npz.decode(answer.content), people)


def test_models_come_and_go_under_load(
    gateway: TestClient, triton: Running, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tritonclient.grpc as library

    # on a busy machine it is gone for longer than the supervisor looks on
    monkeypatch.setattr("server.supervisor.launch._ROUNDS", 1000)
    client = library.InferenceServerClient(triton.grpc)
    with Load(gateway, photo) as load:
        client.unload_model("densepose_head", headers=triton.headers)
        until(lambda: bool(load.refused()), 120)
        client.load_model("densepose_head", headers=triton.headers)
        until(load.served_again, 120)
    client.close()
    assert {answer.status_code for answer in load.answers} == {200, 503}
