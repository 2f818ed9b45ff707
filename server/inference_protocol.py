"""The Open Inference Protocol's request and response bodies, with Triton's binary tensor extension.

A body is JSON, or JSON followed by the bytes of tensors; then `Inference-Header-Content-Length` says where the JSON
ends. A tensor of BYTES is, for each element, a length (u32, little endian) and as many bytes.
"""

from __future__ import annotations

import binascii
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from parsing_rcnn.errors import InvalidOptions
from server.errors import MalformedRequest
from server.requests.json_body import load, put_pictures, take_pictures

DATATYPES = {"float32": "FP32", "uint8": "UINT8", "int32": "INT32"}
_LENGTH = re.compile(r"[0-9]{1,12}")
_HOW = "IMAGE is BYTES [1]: one encoded picture, as binary data or as base64 with the parameter content_type=base64"


@dataclass(frozen=True)
class InferRequest:
    """One inference.

    Attributes:
        id: of the client, sent back.
        image: the encoded picture.
        parameters: of the request, as sent: confidence, max_people, max_side, region, tiles, model, timeout
            (microseconds).
        outputs: name -> whether it is wanted as binary data, in the client's order. None: all of them.
        binary: whether outputs for which the client does not say so are wanted as binary data.
    """

    id: str
    image: bytes
    parameters: Mapping[str, Any]
    outputs: Mapping[str, bool] | None
    binary: bool


def parse(body: bytes, header_length: str | None, names: tuple[str, ...]) -> InferRequest:
    """Read a request.

    Args:
        body: of the request.
        header_length: the header `Inference-Header-Content-Length`; None without it.
        names: of the model's outputs.

    Raises:
        MalformedRequest: it does not follow the protocol.
        InvalidOptions: it asks for what the model does not have.
    """
    end, found = len(body), dict[str, bytes]()
    if header_length is not None:
        if not _LENGTH.fullmatch(header_length) or int(header_length) > end:
            raise MalformedRequest(
                f"Inference-Header-Content-Length: {header_length[:40]!r}, but the body has {end} bytes"
            )
        end = int(header_length)
    rest = memoryview(body)[end:]
    if not rest:
        body, found = take_pictures(body)
    document = load(body if not rest else body[:end], "the JSON part of the body", "cannot be read")
    put_pictures(document, found)
    parameters = _parameters(document, "the request")
    binary = parameters.get("binary_data_output") is True
    identity = document.get("id", "")
    if not isinstance(identity, str | int | float):
        raise MalformedRequest(f"`id` is {_shown(identity)}: send text or a number")
    return InferRequest(
        id=identity if isinstance(identity, str) else str(identity),
        image=_image(document.get("inputs"), rest),
        parameters=parameters,
        outputs=_outputs(document.get("outputs"), names, binary),
        binary=binary,
    )


def _parameters(owner: Mapping[str, Any], what: str) -> dict[str, Any]:
    parameters = owner.get("parameters", {})
    if not isinstance(parameters, dict):
        raise MalformedRequest(f"`parameters` of {what} is not an object")
    if any(str(name).startswith("shared_memory") for name in parameters):
        raise InvalidOptions("shared memory is between a client and Triton itself: send the picture in the request")
    for name, value in parameters.items():
        if isinstance(value, list | dict | None):
            raise MalformedRequest(
                f"the parameter {name[:60]!r} of {what} is {_shown(value)}: send text, a number, true or false"
            )
    return parameters


def _shown(value: Any) -> str:
    """A client's value as text for an error, without the contents of objects and long lists."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        short = len(value) <= 8 and all(isinstance(item, str | int | float | None) for item in value)
        return f"[{', '.join(map(_shown, value))}]" if short else f"a list of {len(value)}"
    return repr(value[:60] if isinstance(value, str) else value)


def _image(inputs: Any, rest: memoryview) -> bytes:
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise MalformedRequest(f"`inputs` is a list of one object; {_HOW}")
    tensor = inputs[0]
    name, kind, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if name != "IMAGE" or kind != "BYTES" or shape not in ([1], [1, 1]):
        raise InvalidOptions(f"the input is {_shown(name)} {_shown(kind)} {_shown(shape)}; {_HOW}"[:400])
    parameters = _parameters(tensor, "IMAGE")
    if "binary_data_size" in parameters:
        size = parameters["binary_data_size"]
        if size != len(rest) or size < 4 or struct.unpack_from("<I", rest)[0] != size - 4:
            raise MalformedRequest(
                f"IMAGE: {len(rest)} bytes follow the JSON, binary_data_size is {_shown(size)}; one element is its "
                "length as 4 bytes, then as many bytes"
            )
        return bytes(rest[4:])
    data = tensor.get("data")
    while isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, str | bytes) or parameters.get("content_type") != "base64":
        raise MalformedRequest(_HOW)
    if isinstance(data, bytes):
        return data
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedRequest(f"`data` of IMAGE is not base64: {error}") from None


def _outputs(outputs: Any, names: tuple[str, ...], binary: bool) -> dict[str, bool] | None:
    if outputs is None or outputs == []:
        return None
    if not isinstance(outputs, list) or not all(isinstance(o, dict) for o in outputs):
        raise MalformedRequest("`outputs` is a list of objects with a `name`")
    wanted: dict[str, bool] = {}
    for output in outputs:
        name = output.get("name")
        parameters = _parameters(output, "an output")
        if name not in names:
            raise InvalidOptions(f"the output {_shown(name)} is unknown: the model has {', '.join(names)}")
        if parameters.get("classification"):
            raise InvalidOptions("the classification extension does not apply to these outputs: leave it out")
        wanted[name] = bool(parameters.get("binary_data", binary))
    return wanted


def encode(
    model: str, version: str, request: InferRequest, tensors: Mapping[str, NDArray[Any]]
) -> tuple[bytes, int | None]:
    """A response.

    Returns:
        The body, and the length of its JSON part where tensors follow.
    """
    wanted = request.outputs or dict.fromkeys(tensors, request.binary)
    entries, blobs = [], []
    for name, binary in wanted.items():
        array = np.ascontiguousarray(tensors[name])
        entry: dict[str, Any] = {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": list(array.shape)}
        if binary:
            blobs.append(array.tobytes())
            entry["parameters"] = {"binary_data_size": array.nbytes}
        else:
            entry["data"] = array.ravel()
        entries.append(entry)
    document: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": entries}
    if request.id:
        document["id"] = request.id
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join((head, *blobs)), len(head) if blobs else None
