"""`WS /v1/stream` on a real socket: newest frame first, drops counted, errors that do not end the stream."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from server.keys import add_key, revoke_keys
from server.requests.memory import Share, UploadMemory
from server.routers.stream import Frame, Mailbox
from server.settings import Settings
from tests.server.conftest import Live, Slow
from tests.server.helpers import until


def frame(number: int, picture: bytes) -> bytes:
    return struct.pack("<II", number, 0) + picture


def opened(live: Live, query: str = "", **options: object) -> ClientConnection:
    return connect(f"ws://{live.address}/v1/stream{query}", max_size=None, **options, open_timeout=60)  # type: ignore[arg-type]


def test_a_frame_is_answered_like_a_picture(live: Live, client: TestClient, photo_jpeg: bytes) -> None:
    query = "?confidence=0&max_people=2&include=parts"
    with opened(live, query) as socket:
        socket.send(frame(7, photo_jpeg))
        answer = json.loads(socket.recv(60))
    assert (answer["frame_id"], answer["dropped"]) == (7, 0)
    assert {"parsing", "densepose"} & set(answer["timings_ms"]) == {"parsing"}  # which `parts` need
    assert answer["predictions"] == client.post(f"/v1/analyze{query}", content=photo_jpeg).json()["predictions"]


def test_pictures_back(live: Live, photo_jpeg: bytes) -> None:
    with opened(live, "?render=iuv") as socket:
        socket.send(frame(2**32 - 1, photo_jpeg))
        answer = socket.recv(60)
    assert isinstance(answer, bytes)
    assert struct.unpack_from("<II", answer) == (2**32 - 1, 0)
    assert Image.open(io.BytesIO(answer[8:])).size == (512, 512)


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("?render=overlay&format=jpeg", "JPEG"),
        ("?render=contour&format=jpeg", "JPEG"),
        ("?format=jpeg", "JPEG"),
        ("?format=png", "PNG"),
        ("?render=overlay&format=json", None),
    ],
)
def test_the_format_of_the_answers_is_the_clients_choice(
    live: Live, client: TestClient, photo_jpeg: bytes, query: str, kind: str | None
) -> None:
    with opened(live, query) as socket:
        socket.send(frame(1, photo_jpeg))
        answer = socket.recv(60)
    if kind is None:
        assert json.loads(answer)["frame_id"] == 1
        return
    assert isinstance(answer, bytes)
    assert Image.open(io.BytesIO(answer[8:])).format == kind
    shown = query.partition("&")[0] if "render" in query else ""
    by_http = client.post(
        f"/v1/analyze{shown}", content=photo_jpeg, headers={"Accept": f"image/{kind.lower()}", "X-Request-ID": "a"}
    )
    assert answer[8:] == by_http.content


def test_arrays_back(live: Live, client: TestClient, photo_jpeg: bytes) -> None:
    query = "tasks=densepose&max_people=1"
    with opened(live, f"?{query}&format=npz") as socket:
        socket.send(frame(5, photo_jpeg))
        answer = socket.recv(60)
        socket.send(frame(6, b""))
        problem = json.loads(socket.recv(60))
    assert isinstance(answer, bytes)
    assert struct.unpack_from("<II", answer) == (5, 0)
    by_http = client.post(f"/v1/analyze?{query}", content=photo_jpeg, headers={"Accept": "application/x-npz"})
    assert answer[8:] == by_http.content
    assert (problem["frame_id"], problem["problem"]["status"]) == (6, 400)  # a frame, and an empty one


def test_old_frames_make_way_for_the_newest(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(), lambda: slow) as live, opened(live) as socket:
        socket.send(frame(0, photo_jpeg))
        assert slow.begun.acquire(timeout=60)  # frame 0 is in work, and holds the rest up
        for number in range(1, 6):
            socket.send(frame(number, photo_jpeg))
        socket.send(b"sync")  # its complaint comes after all frames were seen
        assert json.loads(socket.recv(60))["problem"]["status"] == 400
        slow.gate.set()
        answers = [json.loads(socket.recv(60)) for _ in range(2)]
        assert [a["frame_id"] for a in answers] == [0, 5]
        assert answers[1]["dropped"] == 4


def test_errors_belong_to_their_frame(live: Live, photo_jpeg: bytes) -> None:
    with opened(live) as socket:
        for bad, status, word in ((b"junk", 415, "JPEG"), (photo_jpeg[:300], 400, "whole"), (b"", 400, "empty")):
            socket.send(frame(3, bad))
            answer = json.loads(socket.recv(60))
            assert answer["frame_id"] == 3
            assert answer["problem"]["status"] == status
            assert word in answer["problem"]["detail"]
        socket.send("words")
        assert "binary" in json.loads(socket.recv(60))["problem"]["detail"]
        socket.send(frame(4, photo_jpeg))
        assert json.loads(socket.recv(60))["frame_id"] == 4


def test_what_may_not_open_is_told_why(live: Live) -> None:
    for query, status, word in (
        ("?confidence=7", 422, b"confidence"),
        ("?tasks=parsing&render=iuv", 422, b"densepose"),
        ("?tasks=parsing&include=iuv", 422, b"do not go together"),
        ("?render=parts&format=jpeg", 422, b"render=parts has no JPEG, as its pixels are numbers"),
        ("?format=webp", 422, b"json, png, jpeg"),
        ("?format=png&format=jpeg", 422, b"json, png, jpeg"),
        ("?incl=masks", 422, b"incl: there is no such option; there are tasks, confidence, max_people, include"),
        ("?incl=masks", 422, b", format, track"),
        ("?confidence=0.2&confidence=0.99", 422, b"confidence: the query has it 2 times"),
    ):
        with pytest.raises(InvalidStatus) as refusal:
            opened(live, query)
        assert refusal.value.response.status_code == status
        assert word in refusal.value.response.body
    for origin in ("https://elsewhere.example", "http://[", "null"):
        with pytest.raises(InvalidStatus) as refusal:
            opened(live, origin=origin)
        assert refusal.value.response.status_code == 403
        assert b"allow it with --cors" in refusal.value.response.body
    with opened(live, origin=f"http://{live.address}"):
        pass


def test_streams_are_limited_and_places_come_back() -> None:
    with Live(Settings(max_streams=1), Slow) as live:
        with opened(live), pytest.raises(InvalidStatus) as refusal, opened(live):
            pass
        assert refusal.value.response.status_code == 503
        assert refusal.value.response.headers["retry-after"] == "1"
        problem = json.loads(refusal.value.response.body)
        assert (problem["type"], problem["title"]) == ("urn:parsing-rcnn:busy", "The gateway is busy")
        assert problem["detail"] == "1 stream is open, which is the limit (--max-streams): come back in 1 s"

        def accepted() -> bool:
            try:
                with opened(live):
                    return True
            except InvalidStatus:
                return False

        until(accepted)  # the place comes back


def test_a_stream_without_frames_ends_when_its_key_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.routers.stream._LOOK", 0.1)
    keys = tmp_path / "keys.txt"
    alice, bob = add_key(keys, "alice"), add_key(keys, "bob")
    with (
        Live(Settings(keys=keys, max_streams=2), Slow) as live,
        opened(live, additional_headers={"X-API-Key": bob}) as other,
    ):
        with opened(live, additional_headers={"X-API-Key": alice}) as own:
            revoke_keys(keys, "alice")
            with pytest.raises(ConnectionClosed) as closed:
                own.recv(60)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        until(lambda: len(live.app.state.places) == 1)  # there is a place again
        assert other.ping().wait(60)


def test_several_streams_are_several() -> None:
    with Live(Settings(max_streams=2), Slow) as live:
        with opened(live), opened(live), pytest.raises(InvalidStatus) as refusal:
            opened(live)
        assert b"2 streams are open, which is the limit" in refusal.value.response.body


def test_who_leaves_while_it_is_accepted_keeps_no_place() -> None:
    async def knock() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def gone(_: object) -> None:
        raise OSError("the client is gone")  # as uvicorn's ClientDisconnected

    with Live(Settings(max_streams=1), Slow) as live:
        scope = {"type": "websocket", "path": "/v1/stream", "query_string": b"", "headers": [], "scheme": "ws"}
        with pytest.raises(OSError, match="gone"):
            asyncio.run(live.app(scope, knock, gone))  # type: ignore[arg-type]
        with opened(live):
            pass


def test_a_message_beyond_the_limit_ends_the_stream() -> None:
    with Live(Settings(max_bytes=2000), Slow) as live, opened(live) as socket:
        socket.send(bytes(5000))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(60)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009  # message too big


def test_the_mailbox_keeps_one() -> None:
    async def play() -> tuple[int, int]:
        box = Mailbox()
        replaced = [box.put(Frame(number, b"", Share(UploadMemory(1000)))) for number in range(3)]
        assert replaced == [False, True, True]
        return (await box.take()).number, box.dropped

    assert asyncio.run(play()) == (2, 2)
