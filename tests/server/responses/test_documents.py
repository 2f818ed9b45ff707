"""The types of openapi.json against real answers: no field is missing there, none has another type."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient
from websockets.sync.client import connect

from server.responses.documents import DECLARED, Analysis, Batch, Error, StreamAnswer, StreamProblem
from tests.server.conftest import Live

URL = "/v1/analyze"


def conforms(text: str | bytes, kind: type) -> None:
    """What a type does not know is lost on the way through it."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    found = adapter.dump_python(adapter.validate_json(text, strict=True), mode="json", by_alias=True, exclude_none=True)

    def without_null(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: without_null(value) for name, value in node.items() if value is not None}
        return [without_null(value) for value in node] if isinstance(node, list) else node

    assert found == without_null(json.loads(text))


@pytest.mark.parametrize("mask_format", ["rle", "png", "polygon", "none"])
@pytest.mark.parametrize("include", ["masks,parts,label_map,iuv,part_masks,inds", "part_masks", "iuv", ""])
def test_an_analysis(client: TestClient, photo_jpeg: bytes, include: str, mask_format: str) -> None:
    query = {"include": include, "mask_format": mask_format}
    answer = client.post(URL, params=query, content=photo_jpeg)
    assert answer.json()["predictions"]
    conforms(answer.content, Analysis)


def test_an_analysis_of_nobody_and_one_in_an_archive(client: TestClient, photo_jpeg: bytes) -> None:
    conforms(client.post(URL, params={"confidence": "1"}, content=photo_jpeg).content, Analysis)
    answer = client.post(URL, content=photo_jpeg, headers={"Accept": "application/zip"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        conforms(archive.read("photo.json"), Analysis)


def test_a_batch(client: TestClient, photo_jpeg: bytes) -> None:
    files = [("file", ("a.jpg", photo_jpeg)), ("file", ("notes.txt", b"hello"))]
    answer = client.post(f"{URL}/batch", files=files)
    assert [result["status"] for result in answer.json()["results"]] == [200, 415]
    conforms(answer.content, Batch)


def test_a_stream(live: Live, photo_jpeg: bytes) -> None:
    with connect(f"ws://{live.address}/v1/stream?include=inds&track=true", max_size=None, open_timeout=60) as socket:
        socket.send(struct.pack("<II", 7, 0) + photo_jpeg)
        answer = socket.recv(60)
        assert "inds_png" in json.loads(answer)
        assert json.loads(answer)["predictions"][0]["tracker_id"] == 1
        conforms(answer, StreamAnswer)
        for wrong in (b"?", struct.pack("<II", 8, 0) + b"no picture"):
            socket.send(wrong)
            conforms(socket.recv(60), StreamProblem)


def test_an_error_of_the_inference_protocol(client: TestClient) -> None:
    conforms(client.get("/v2/models/nothing").content, Error)


def test_examples_are_what_they_are_examples_of(client: TestClient) -> None:
    kinds = {kind.__name__: kind for kind in DECLARED}
    checked = set()
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for operation in operations.values():
            for answer in operation["responses"].values():
                for content in answer.get("content", {}).values():
                    kind = kinds.get(content.get("schema", {}).get("$ref", "").rpartition("/")[2])
                    if kind is not None and "example" in content:
                        conforms(json.dumps(content["example"]), kind)
                        checked.add(path)
    assert {URL, f"{URL}/batch"} <= checked


def as_docs_sends(path: str, operation: dict[str, Any], photo: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """(address, arguments of httpx) of an operation, for each type of its body: what /docs fills in by itself, and a
    photo wherever a file can be chosen."""
    query: dict[str, Any] = {}
    for parameter in operation.get("parameters", []):
        examples = [example["value"] for example in parameter.get("examples", {}).values()]
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", examples[0])
        elif "default" in parameter["schema"]:
            query[parameter["name"]] = parameter["schema"]["default"]
    bodies = operation.get("requestBody", {"content": {"": {}}})["content"]
    for kind, content in bodies.items():
        headers = {"Accept": "application/json"} | ({"Content-Type": kind} if kind else {})
        if kind == "multipart/form-data":
            fields = content["schema"]["properties"]
            texts = {name: field.get("examples", ["string"])[0] for name, field in fields.items() if name != "file"}
            yield path, {"params": query, "data": texts, "files": {"file": ("a.jpg", photo)}}
        elif "example" in content:
            yield path, {"params": query, "content": json.dumps(content["example"]), "headers": headers}
        elif not path.startswith("/v2"):  # whose files are tensors behind a header
            yield path, {"params": query, "content": photo, "headers": headers}


def test_whatever_docs_fills_in_is_answered(client: TestClient, photo_jpeg: bytes) -> None:
    sent = 0
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            for address, arguments in as_docs_sends(path, operation, photo_jpeg):
                answer = client.request(method, address, **arguments)
                assert answer.status_code == 200, (address, arguments.get("headers"), answer.text)
                assert b'"problem"' not in answer.content, address  # of a picture in a batch
                sent += "requestBody" in operation
    assert sent >= 9


def test_openapi_has_the_fields_of_a_person(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]

    def answer(path: str, status: str, kind: str = "application/json") -> dict[str, Any]:
        reference = document["paths"][path]["post"]["responses"][status]["content"][kind]["schema"]["$ref"]
        return dict(schemas[reference.rpartition("/")[2]])

    assert answer(URL, "200")["properties"]["predictions"]["items"] == {"$ref": "#/components/schemas/Prediction"}
    fields = {"bbox", "class", "rle", "mask_png", "points", "polygons", "parts", "parts_png", "densepose"}
    assert fields <= set(schemas["Prediction"]["properties"])
    assert "bbox" in schemas["Prediction"]["required"]
    assert "rle" not in schemas["Prediction"]["required"]
    assert {"class", "area", "crop_rle"} <= set(schemas["Part"]["properties"])
    assert {"frame_id", "dropped", "predictions"} <= set(schemas["StreamAnswer"]["properties"])
    results = answer(f"{URL}/batch", "200")["properties"]["results"]["items"]["anyOf"]
    assert [kind["$ref"].rpartition("/")[2] for kind in results] == ["BatchResult", "BatchProblem"]
    assert answer("/v2/models/{model}/infer", "422") == schemas["Error"]
