"""Whose certificates are trusted where a gateway is asked over TLS."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import httpx2

from parsing_rcnn.errors import EngineUnavailable, InvalidOptions
from parsing_rcnn_client.sdk.retries import final

_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # as OpenSSL itself, curl and pip name them


def trusted(secure: bool, given: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """What decides whether a server's certificate is good.

    Args:
        secure: whether the address is https://; for others there is nothing to decide.
        given: by the caller; None takes the authorities of SSL_CERT_FILE or SSL_CERT_DIR, or else of this machine.

    Raises:
        InvalidOptions: a variable names no certificates.
    """
    if not secure or given is not None:
        return given
    try:
        return httpx2.create_ssl_context(trust_env=True)  # reads only these variables
    except OSError as error:
        said = " and ".join(f"{name}={os.environ[name]}" for name in _VARIABLES if os.environ.get(name))
        raise InvalidOptions(f"{said}: no certificates can be read there ({_reason(error)})") from None


def authorities(path: Path) -> ssl.SSLContext:
    """Trust the authorities of one file alone.

    Args:
        path: their certificates in PEM, one after the other.

    Raises:
        InvalidOptions: it holds none, or cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise InvalidOptions(f"{path}: no certificates in PEM can be read there ({_reason(error)})") from None


def untrusted(url: str, error: BaseException) -> EngineUnavailable | None:
    """The error of a server whose certificate is refused, which asking again would not change; None where `error` is
    another one. httpx2 raises its own, of which the refusal is a cause.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return final(
                f"{url}: its certificate is refused ({seen.verify_message}); where an authority of your own signed it, "
                "give that: verify=ssl.create_default_context(cafile='ca.pem'), on the command line --ca ca.pem, or "
                "SSL_CERT_FILE=ca.pem"
            )
        seen = seen.__cause__ or seen.__context__
    return None


def _reason(error: OSError) -> str:
    return str(error.strerror or error)
