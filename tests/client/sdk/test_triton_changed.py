"""A Triton that is started again with other weights, or does not tell them at first: the SDK goes on with these."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parsing_rcnn.ensembles import identity
from parsing_rcnn.own_classes import read_taxonomy
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.taxonomy import CIHP
from parsing_rcnn_client import Client, GatewayError

pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc]")
from tests.client.sdk.test_triton import OtherClasses, grpc, serving
from tests.client.sdk.test_untrained_clients import Telling

FEW = {"name": "few", "classes": ["Background", "Clothes", "Skin"]}
MORE = {"name": "more", "classes": ["Background", "Head", "Trunk", "Arms", "Legs"]}
TWENTY = {"name": "twenty", "classes": ["Background", *(f"Teil {name}" for name in CIHP.classes[1:])]}


class Changing(OtherClasses):
    """Whose weights may become others.

    Attributes:
        troubles: how often it still says, asked for its configuration, that something is wrong.
        away: how many pictures find it shutting down.
    """

    configurations, troubles, away = 0, 0, 0

    def become(self, said: dict[str, Any]) -> None:
        self.classes = len(said["classes"])
        self.parameters = {"card.taxonomy": said["name"], "card.classes": json.dumps(said)}

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.troubles:
            self.troubles -= 1
            context.abort(grpc.StatusCode.INTERNAL, "something is wrong")
        return Telling.ModelConfig(self, request, context)  # type: ignore[arg-type]

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.away:
            self.away -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        return super().ModelInfer(request, context)


@pytest.fixture
def server(pipeline: Pipeline) -> Changing:
    servicer = Changing(pipeline, 3, 1)
    servicer.become(FEW)
    return servicer


def test_after_it_the_classes_are_the_new_ones(server: Changing, photo_jpeg: bytes) -> None:
    with serving(server) as url, Client.triton(url) as client:
        assert client.analyze(photo_jpeg).taxonomy == read_taxonomy(FEW)
        server.become(MORE)
        for _ in range(2):
            assert client.analyze(photo_jpeg).taxonomy == read_taxonomy(MORE)
        assert server.configurations == 2
        server.become(FEW)
        assert client.info.classes == tuple(FEW["classes"])
        assert client.analyze(photo_jpeg).taxonomy == read_taxonomy(FEW)
        server.parameters = {}
        assert client.analyze(photo_jpeg).taxonomy == read_taxonomy(FEW)  # what it said is kept
        server.classes = 7
        with pytest.raises(GatewayError, match="7 part classes, neither CIHP's nor MHP's"):
            client.analyze(photo_jpeg)


def test_after_an_outage_it_is_asked_again_though_the_classes_are_as_many(server: Changing, photo_jpeg: bytes) -> None:
    server.become(TWENTY)
    with serving(server) as url, Client.triton(url) as client:
        assert client.analyze(photo_jpeg).taxonomy == read_taxonomy(TWENTY)
        server.away = 1
        client.analyze(photo_jpeg)
        server.become({**TWENTY, "name": "others"})
        assert client.analyze(photo_jpeg).taxonomy.name == "others"
    assert server.configurations == 2


def test_what_it_cannot_tell_at_once_is_asked_again(server: Changing, photo_jpeg: bytes) -> None:
    server.troubles = 1
    with serving(server) as url, Client.triton(url) as client:
        assert client.analyze(photo_jpeg).taxonomy == read_taxonomy(FEW)


@pytest.mark.parametrize(("troubles", "pictures"), [(1, 2), (2, 3)])
def test_so_it_is_where_the_classes_fit(
    pipeline: Pipeline, parts_repository: Any, photo_jpeg: bytes, troubles: int, pictures: int
) -> None:
    with Pipeline(parts_repository, threads=1) as parts:
        server = Changing(parts, 20, 1)
        server.parameters = identity(parts.info.card)
        server.troubles = troubles
        with serving(server) as url, Client.triton(url) as client:
            found = [client.analyze(photo_jpeg).iuv is not None for _ in range(pictures)]
    assert found == ([True, False] if troubles == 1 else [True, True, True])  # what it says twice is believed
