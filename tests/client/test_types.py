"""What a type checker tells the writer of a program: a misspelt option is found before anything runs."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from parsing_rcnn.analyzer import OptionKeywords, Options
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client import AsyncClient, AsyncGateway, Client, Gateway, Triton

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
from typing import Any

from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client import AsyncClient, AsyncGateway, Client, Gateway, Options, Triton

client = Client.connect("http://127.0.0.1:8080", 10, api_key="k", connections=2, jpeg_quality=90, retry=False)
Client.connect("x", keyy=3)  # wrong
Client.triton("grpc://127.0.0.1:8001", retries=False)  # wrong
Client.embedded(treads=1)  # wrong
Client.embedded("model_repository", model="fast", threads=1)
client.analyze("x", confidence=0.3, tasks="parsing", max_people=3, part_probs=True, max_side=None)
client.analyze("x", Options(confidence=0.3))
client.analyze("x", Options(confidence=0.3), bgr=True)
client.analyze("x", bgr="yes")  # wrong
client.stream([b"x"], bgr=True)
with Pipeline() as pipeline:
    pipeline.analyze("x", bgr=True, confidence=0.3)
client.analyze("x", confidense=0.3)  # wrong
client.analyze_many(["x"], in_flight=2, tasks={"parsing", "densepose"})
client.analyze_many(["x"], in_fligth=2)  # wrong
client.stream([b"x"], tasks=())
client.stream([b"x"], task="parsing")  # wrong
Pipeline().analyze("x", tasks=["parsing"])
Pipeline().analyze("x", tasks=7)  # wrong
Gateway("x").analyze("x", timeout=3, confidence=1)
Gateway("x").analyze("x", confidence="high")  # wrong
Gateway("x").stream(["x"], confidense=1)  # wrong
Triton("x").analyze("x", people=3)  # wrong


def passed_on(**keywords: Any) -> None:
    client.analyze("x", **keywords)


async def main() -> None:
    several = AsyncClient.connect("http://127.0.0.1:8080", in_flight=2, api_key="k")
    AsyncClient.connect("x", keyy=3)  # wrong
    AsyncClient.triton("x", in_flight=2, taxonomie=None)  # wrong
    AsyncClient.embedded(in_flight=2, precision=8)  # wrong
    await several.analyze("x", max_side=640)
    await several.analyze("x", max_sides=640)  # wrong
    async for people in several.analyze_many(["x"], part_prob=True):  # wrong
        print(people)
    async for answer in several.stream(["x"], confidence=None):  # wrong
        print(answer)
    await AsyncGateway("x").analyze("x", confidense=1)  # wrong
    AsyncGateway("x").stream(["x"], confidense=1)  # wrong
"""


def test_a_misspelt_option_is_an_error_of_mypy(tmp_path: Path) -> None:
    done = mypy(tmp_path, PROGRAM)
    found = {int(line) for line in re.findall(r"^program\.py:(\d+): error: ", done.stdout, re.MULTILINE)}
    wrong = {number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# wrong")}
    assert found == wrong, done.stdout + done.stderr


OPENCV = """
import io
import ssl
from pathlib import Path

from parsing_rcnn import draw
from parsing_rcnn_client import AsyncClient, Client, People

client = Client.connect("https://gateway", verify=ssl.create_default_context(), headers={"X-Team": "blue"})
client.analyze(bytearray(b"x"))
client.analyze(memoryview(b"x"))
client.analyze(io.BytesIO(b"x"))
with Path("photo.jpg").open("rb") as file:
    client.analyze(file)
picture = cv2.imread("photo.jpg")
assert picture is not None
people: People = client.analyze(picture, bgr=True)
draw.overlay(picture, people, bgr=True)
draw.texture(picture, people, picture, bgr=True)
cv2.imshow("people", people.draw(picture, bgr=True))


def frames() -> Iterator[cv2.typing.MatLike]:
    while (frame := capture.read()[1]) is not None:
        yield frame


async def answers() -> None:
    async for answer in AsyncClient.connect("x").analyze_many(live(), bgr=True):
        print(answer)


async def live() -> AsyncIterator[cv2.typing.MatLike]:
    for frame in frames():
        yield frame


for streamed in client.stream(frames(), bgr=True):
    print(streamed)
"""


def test_frames_of_opencv_are_pictures_to_mypy(tmp_path: Path) -> None:
    """And the loop of docs/outputs.md has no error."""
    page = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    (loop,) = [text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "VideoCapture" in text]
    imports = "from collections.abc import AsyncIterator, Iterator\n\nimport cv2.typing\n"
    done = mypy(tmp_path, f"{imports}{loop}{OPENCV}")
    assert done.returncode == 0, done.stdout + done.stderr


def mypy(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """What it says of a program."""
    pytest.importorskip("mypy")
    (folder / "program.py").write_text(program)
    # of the packages as they are installed only what they promise is looked at
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports", "silent", "program.py"]
    environment = {**os.environ, "MYPYPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_keywords_are_the_fields_of_options() -> None:
    assert list(OptionKeywords.__annotations__) == [own.name for own in fields(Options)]
    assert OptionKeywords.__required_keys__ == frozenset()


@pytest.mark.parametrize(
    ("made_by", "engine"),
    [
        (Client.connect, Gateway),
        (Client.triton, Triton),
        (Client.embedded, Pipeline),
        (AsyncClient.connect, AsyncGateway),
        (AsyncClient.triton, Triton),
        (AsyncClient.embedded, Pipeline),
    ],
)
def test_a_client_is_made_with_the_arguments_of_its_engine(made_by: Callable[..., Any], engine: type) -> None:
    parameters = dict(inspect.signature(made_by).parameters)
    parameters.pop("in_flight", None)  # of the client
    assert parameters == dict(inspect.signature(engine).parameters)


def test_an_argument_that_no_engine_has_is_named() -> None:
    for made_by in (Client.connect, AsyncClient.connect, Client.triton, AsyncClient.embedded):
        with pytest.raises(TypeError, match="unexpected keyword argument 'keyy'"):
            made_by("http://127.0.0.1:9", keyy=3)  # type: ignore[operator]
