"""Fetches a picture from an https URL, and keeps callers from reaching machines that only this one can reach.

Every address that a name resolves to must be public. The connection goes to one of the very addresses that were
checked, the first that accepts it. Each redirect is checked again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urljoin, urlsplit

import h11

from parsing_rcnn.errors import ImageTooLarge, InvalidImage, InvalidOptions

_SECONDS = 10.0
_CONNECT = 3.0
"""Seconds to connect to an address while there is another one to try."""
_REDIRECTS = 3
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_RESERVED = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by a provider's customers
            "127.0.0.0/8",  # this machine
            "169.254.0.0/16",  # link-local; metadata of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is the metadata of one cloud
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/3",  # multicast, reserved, broadcast
            "2001::/23",  # protocol assignments, with Teredo, which embeds IPv4 addresses
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which embeds IPv4 addresses
            "3fff::/20",  # documentation
        ),
    )
)
"""Networks of IANA's special-purpose registries, IPv4 and within `_GLOBAL_UNICAST`. `is_global` knows most of them, but
how many depends on the patch level of Python."""
_MOVED = frozenset({301, 302, 303, 307, 308})

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def fetch(
    url: str,
    most: int,
    hold: Callable[[int], None] = lambda _: None,
    resolve: Resolve | None = None,
    tls: ssl.SSLContext | None = None,
) -> bytes:
    """Fetch the body behind a URL.

    Args:
        url: https, port 443, without a user name.
        most: the most bytes of the body.
        hold: called with the size of each piece before the next is read; may raise.
        resolve: (name, port) -> addresses. None: the system's resolver.
        tls: with the certificates to trust. None: the system's.

    Raises:
        InvalidOptions: the URL is not allowed, or its host is not public.
        InvalidImage: the host does not answer with a body.
        ImageTooLarge: the body has more than `most` bytes.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            if tls is None:
                tls = await asyncio.to_thread(ssl.create_default_context)  # reads all certificates
            for _ in range(_REDIRECTS + 1):
                host, target = _parts(url)
                addresses = await _public(host, resolve or _lookup)
                status, location, body = await _get(host, addresses, target, most, hold, tls)
                if status not in _MOVED:
                    break
                url = _next(url, location)
            else:
                raise InvalidImage(f"the address redirects more than {_REDIRECTS} times: give the last one")
    except TimeoutError:
        raise InvalidImage(f"the address did not answer within {_SECONDS:g} s: send the picture itself") from None
    except (OSError, h11.RemoteProtocolError) as error:
        raise InvalidImage(f"the address cannot be read ({type(error).__name__}): send the picture itself") from None
    if status != 200:
        raise InvalidImage(f"the address answers {status}, not 200: send the picture itself")
    return body


def _next(url: str, location: str) -> str:
    """The URL that a redirect leads to."""
    try:
        return urljoin(url, location)
    except ValueError:  # https://[
        raise InvalidImage("the address redirects to what is no address: send the picture itself") from None


def _parts(url: str) -> tuple[str, str]:
    """(host, path with query) of a URL.

    Raises:
        InvalidOptions: the URL is not allowed.
    """
    try:
        parts = urlsplit(url)
        allowed = parts.scheme == "https" and parts.hostname and parts.port in (None, 443) and "@" not in parts.netloc
    except ValueError:
        allowed = False
    if not allowed or any(ord(c) <= 32 or ord(c) > 126 for c in url):
        raise InvalidOptions("an address is https://host/path, with no port, no user name and in ASCII")
    return str(parts.hostname), (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


async def _lookup(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def _public(host: str, resolve: Resolve) -> list[str]:
    """The addresses of a host, all of which are public.

    Raises:
        InvalidImage: it has none.
        InvalidOptions: one of them is not public.
    """
    try:
        addresses = await resolve(host, 443)
    except (OSError, UnicodeError):
        addresses = []
    if not addresses:
        raise InvalidImage(f"the host {host} is not known: check the address")
    for address in addresses:
        if not _is_public(ipaddress.ip_address(address)):
            raise InvalidOptions(f"the host {host} is not public: pictures are fetched from the open internet only")
    return list(dict.fromkeys(addresses))


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if address in _NAT64:  # a router translates it to the IPv4 address in its last 32 bits
        return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    # some other IPv6 addresses are routed inwards, too: ::127.0.0.1, ::ffff:127.0.0.1, 64:ff9b:1::/48, fec0::1, 5f00::1
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not any(address in network for network in _RESERVED)


async def _connect(
    host: str, addresses: list[str], tls: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first address that accepts, and verify that its certificate is for `host`."""
    *others, last = addresses
    for address in others:
        with contextlib.suppress(OSError):  # and TimeoutError, which is one
            async with asyncio.timeout(_CONNECT):
                return await asyncio.open_connection(address, 443, ssl=tls, server_hostname=host)
    return await asyncio.open_connection(last, 443, ssl=tls, server_hostname=host)


async def _get(
    host: str, addresses: list[str], target: str, most: int, hold: Callable[[int], None], tls: ssl.SSLContext
) -> tuple[int, str, bytes]:
    """Ask one of the addresses of `host` for `target`. Returns (status, Location, body)."""
    reader, writer = await _connect(host, addresses, tls)
    try:
        connection = h11.Connection(h11.CLIENT)
        name = f"[{host}]" if ":" in host else host  # an IPv6 address
        headers = [("Host", name), ("Accept", "image/*"), ("Accept-Encoding", "identity"), ("Connection", "close")]
        request = h11.Request(method="GET", target=target, headers=headers)
        writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        status, location, body = 0, "", bytearray()
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                status = event.status_code
                location = dict(event.headers).get(b"location", b"").decode("latin-1")
            elif isinstance(event, h11.Data):
                hold(len(event.data))
                body += event.data
                if len(body) > most:
                    raise ImageTooLarge(
                        f"the picture has more than {most} bytes, which is the limit: send a smaller one"
                    )
        return status, location, bytes(body)
    finally:
        writer.close()
