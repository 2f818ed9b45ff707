"""The settings of the gateway. Flags override the environment variables PARSING_RCNN_*, which override defaults."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from parsing_rcnn.codecs.image import ImageLimits
from parsing_rcnn.limits import MAX_IMAGE_BYTES, MAX_PIXELS, MAX_SIDE, MAX_TILES, MAX_TIMEOUT_MS

PREFIX = "PARSING_RCNN_"
_OF_OTHERS = frozenset({"CACHE", "API_KEY"})  # variables of the runtimes and of the client
_INJECTED = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
"""Variables that Kubernetes sets in every pod for a Service whose name begins with the project's name. It also sets
`..._PORT`, to an address."""


class Settings(BaseSettings):
    """Settings of the gateway. `PARSING_RCNN_PORT=9000` sets `port`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on.")
    repository: Path | None = Field(None, description="Model repository (None: found beside the package).")
    model: str | None = Field(None, description="For requests that name none: a name that /v1/models lists.")
    only_model: bool = Field(False, description="Whether requests may not name another model than that.")
    engine: Literal["embedded", "triton"] = Field("embedded", description="What computes: this process, or Triton.")
    triton_url: str = Field("127.0.0.1:8001", description="gRPC addresses of Triton servers, separated by commas.")
    triton_timeout: float = Field(
        30.0, gt=0, le=MAX_TIMEOUT_MS / 1000, description="The most seconds for a picture in Triton."
    )
    triton_in_flight: int = Field(
        32, ge=1, description="The most pictures on their way to Triton; one more is refused."
    )
    triton_shared_memory: bool = Field(
        False, description="Exchange pictures with Triton through /dev/shm: same machine."
    )
    runtime: Literal["auto", "openvino", "onnxruntime"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    threads: int | None = Field(None, ge=1, description="Threads of one inference (None: all usable cores).")
    workers: int = Field(4, ge=1, le=64, description="Pictures analysed at the same time.")
    queue: int = Field(16, ge=0, description="Pictures that may wait; one more is refused with 503.")
    keys: Path | None = Field(None, description="File of API keys; None: nobody needs one.")
    rate: float | None = Field(None, ge=1e-6, le=1e6, description="Pictures a second for each caller (None: no limit).")
    burst: int = Field(20, ge=1, description="Pictures at once for each caller, where there is a rate.")
    trusted_proxies: str = Field("", description="Addresses and networks whose X-Forwarded-For is believed.")
    cors: str = Field("", description="Origins whose pages may send requests, by commas; * for all.")
    hosts: str = Field(
        "",
        description="Names that `Host` may have beside localhost and addresses; * for all. Empty: none while listening "
        "on 127.0.0.1 without trusted proxies, else all.",
    )
    urls: bool = Field(False, description="Whether pictures may be given as https addresses.")
    max_tiles: int = Field(
        MAX_TILES, ge=1, le=MAX_TILES, description="The largest `tiles` of a picture, which is analysed up to 17 times."
    )
    max_batch: int = Field(16, ge=1, le=256, description="Pictures of a batch.")
    max_batch_bytes: int = Field(128 * 1024 * 1024, ge=1024, description="Bytes of a batch's body.")
    max_streams: int = Field(8, ge=0, description="Streams that are open at the same time.")
    max_connections: int = Field(1000, ge=16, le=1_000_000, description="Connections that are open at the same time.")
    upload_seconds: float = Field(30.0, gt=0, le=3600, description="How long a body that arrives slowly may take.")
    upload_memory: int = Field(
        512 * 1024 * 1024,
        ge=1024,
        description="Bytes of all bodies together, and of all answers together that wait to be read.",
    )
    max_bytes: int = Field(MAX_IMAGE_BYTES, ge=1024, description="Bytes of an encoded picture.")
    max_pixels: int = Field(MAX_PIXELS, ge=1024, description="Pixels of a picture.")
    max_side: int = Field(MAX_SIDE, ge=32, description="Longest side of a picture, pixels.")
    drain_seconds: int = Field(20, ge=0, le=3600, description="How long accepted requests may take after SIGTERM.")
    otlp: str | None = Field(None, description="OpenTelemetry collector (OTLP over HTTP) for traces.")
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")

    @field_validator("*", mode="before")
    @classmethod
    def _given(cls, value: Any, info: ValidationInfo) -> Any:
        default = cls.model_fields[str(info.field_name)].default
        if info.field_name == "port" and _is_of_kubernetes(value):
            return default
        if value == "" and default != "":
            raise ValueError("it is empty: unset it, or give it a value")
        return value

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        return bare(value)

    @field_validator("triton_url")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for address in value.split(","):  # an empty one, too, is no address
            found = re.fullmatch(r"\s*([\w.-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})\s*", address)
            if found is None:
                raise ValueError("each address is host:port, as in 127.0.0.1:8001, separated by commas")
            if not 1 <= int(found[2]) <= 65535:
                raise ValueError(f"ports are 1 to 65535, as in 127.0.0.1:8001; {found[2]} is none")
        return value

    @field_validator("cors")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in _listed(value):
            if origin != "*" and not re.fullmatch(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?", origin):
                raise ValueError("each origin is https://host or https://host:port with no path, or *")
        return value

    @field_validator("hosts")
    @classmethod
    def _names(cls, value: str) -> str:
        for name in _listed(value):
            if name != "*" and not re.fullmatch(r"[\w.-]+", name):
                raise ValueError("each is a name without scheme, port and path, as in photos.example, or *")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for network in _listed(value):
            try:
                ip_network(network)
            except ValueError:
                raise ValueError("each is an address or a network, as in 10.0.0.7 or 10.0.0.0/8") from None
        return value

    @field_validator("otlp")
    @classmethod
    def _collector(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https?://[^/\s]+", value):
            raise ValueError("a collector's address is like http://127.0.0.1:4318")
        return value

    @property
    def limits(self) -> ImageLimits:
        """Limits of a picture."""
        return ImageLimits(self.max_bytes, self.max_pixels, self.max_side)

    @property
    def origins(self) -> list[str]:
        """Origins of `cors`."""
        return _listed(self.cors)

    @property
    def names(self) -> list[str]:
        """Names of `hosts` in lower case."""
        return [name.lower() for name in _listed(self.hosts)]

    @property
    def proxies(self) -> list[str]:
        """Addresses and networks of `trusted_proxies`."""
        return _listed(self.trusted_proxies)

    @property
    def triton_urls(self) -> list[str]:
        """Addresses of `triton_url`."""
        return _listed(self.triton_url)

    @property
    def max_body(self) -> int:
        """The most bytes of a body: base64 makes a picture a third larger, and JSON or a form adds some."""
        return math.ceil(self.max_bytes * 4 / 3) + 64 * 1024


def _listed(text: str) -> list[str]:
    """The items of a list that is separated by commas, without blanks around them and without empty ones."""
    return [item.strip() for item in text.split(",") if item.strip()]


def bare(host: str) -> str:
    """A host as sockets take it: without the brackets that URLs put around IPv6 addresses."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def address(host: str, port: int) -> str:
    """host:port as in a URL, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_of_kubernetes(value: Any) -> bool:
    return isinstance(value, str) and re.match("(tcp|udp|sctp)://", value) is not None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Complaints about variables with our prefix that are no settings: if the variable for the key file were misspelt,
    the gateway would be open."""
    known = {name.upper() for name in Settings.model_fields}
    wrong = []
    for variable, value in environment.items():
        name = variable.upper().removeprefix(PREFIX)
        if not variable.upper().startswith(PREFIX) or name in known | _OF_OTHERS:
            continue
        if _INJECTED.fullmatch(name) or (name.endswith("_PORT") and _is_of_kubernetes(value)):
            continue
        near = difflib.get_close_matches(name, known, 1)
        wrong.append(f"{variable}: there is no such setting; " + (f"is it {PREFIX}{near[0]}?" if near else "unset it"))
    return wrong


def injected_port(environment: Mapping[str, str]) -> str | None:
    """The value of PARSING_RCNN_PORT if Kubernetes set it for a Service named parsing-rcnn, so that it is no port."""
    value = environment.get(f"{PREFIX}PORT")
    return value if _is_of_kubernetes(value) else None
