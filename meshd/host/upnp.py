"""UPnP: a gateway that forwards our port, asked through async-upnp-client (extra `upnp`).

Whoever is on our network may answer the search, with any URL. So only the gateway itself is heard,
only its own address is asked, and what it says is bounded in size and time.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ipaddress
import logging
import socket
import urllib.parse
from typing import TYPE_CHECKING, Any

from meshd.node.errors import RemoteError

if TYPE_CHECKING:
    from aiohttp import StreamReader
    from async_upnp_client.client import UpnpDevice, UpnpService
    from async_upnp_client.const import HttpRequest, HttpResponse

SEARCH_TIME = 2.0
"""Seconds in which a gateway has to answer the search."""
REQUEST_TIME = 5.0
"""Seconds for one question to the gateway, and its answer."""
DOCUMENT_MAX = 262_144
"""Bytes of the largest description or answer that is read."""
DOCUMENTS_MAX = 32
"""Descriptions read of one gateway: it may name any number of services."""
DEVICES = ("InternetGatewayDevice:1", "InternetGatewayDevice:2")
SERVICES = ("WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1")
"""Which services forward ports, the best first."""
DESCRIPTION = "AegisRay"

_NONSENSE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    SyntaxError,
    RecursionError,
)
"""What the library raises where a device's documents are not what they should be."""
_ONLY_PERMANENT = 725  # WANIPConnection:1, section 2.4.16
_PORT, _EVERYONE = 1900, "239.255.255.250"
_ANSWER_MAX = 2048
_SEARCH = (
    'M-SEARCH * HTTP/1.1\r\nHOST: {host}:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\n'
    "ST: urn:schemas-upnp-org:device:{device}\r\n\r\n"
)


def available() -> bool:
    """Whether the library is installed."""
    return importlib.util.find_spec("async_upnp_client") is not None


class Upnp:
    """One gateway's service that forwards ports. Made by `find`."""

    def __init__(self, service: UpnpService, client: str) -> None:
        self._service = service
        self._client = client

    @classmethod
    async def find(cls, gateway: str, client: str) -> Upnp:
        """Search for `gateway`'s service; `client`: our address on its network.

        Raises RemoteError("portmap-upnp"): there is none, or it makes no sense."""
        url = await _search(gateway, client)
        # It would log what anybody on our network says.
        logging.getLogger("async_upnp_client").setLevel(logging.CRITICAL)
        # Late and beside the loop: it costs a third of a second and some MB.
        await asyncio.to_thread(importlib.import_module, "async_upnp_client.client_factory")
        device = await _trying(_describe(gateway, url))
        for kind in SERVICES:
            service = device.find_service(f"urn:schemas-upnp-org:service:{kind}")
            if service is not None and service.has_action("AddPortMapping"):
                return cls(service, client)
        raise RemoteError("portmap-upnp", "it forwards no ports")

    async def address(self) -> str:
        """The gateway's outer address. Raises RemoteError: none that anybody could reach."""
        answer = await _trying(self._call("GetExternalIPAddress"))
        try:
            address = ipaddress.IPv4Address(str(answer.get("NewExternalIPAddress")))
        except ValueError:
            raise RemoteError("portmap-upnp", "no outer address") from None
        if address.is_loopback or address.is_unspecified or address.is_multicast:
            raise RemoteError("portmap-upnp", "no outer address")
        if address.is_link_local or address.is_reserved:
            raise RemoteError("portmap-upnp", "no outer address")
        return str(address)

    async def forward(self, transport: str, internal: int, external: int, lifetime: int) -> None:
        """Forward `external` of "UDP" or "TCP" to our `internal` port for `lifetime` seconds, or
        until it is taken back where a gateway cannot forget by itself. Raises RemoteError."""
        from async_upnp_client.exceptions import UpnpActionError

        async def ask(seconds: int) -> None:
            await self._call(
                "AddPortMapping",
                NewRemoteHost="",
                NewExternalPort=external,
                NewProtocol=transport,
                NewInternalPort=internal,
                NewInternalClient=self._client,
                NewEnabled=True,
                NewPortMappingDescription=DESCRIPTION,
                NewLeaseDuration=seconds,
            )

        async def ask_either() -> None:
            try:
                await ask(lifetime)
            except UpnpActionError as error:
                if error.error_code != _ONLY_PERMANENT:
                    raise
                await ask(0)

        await _trying(ask_either())

    async def take_back(self, transport: str, external: int) -> None:
        """Forward no more. Raises RemoteError."""
        await _trying(
            self._call(
                "DeletePortMapping",
                NewRemoteHost="",
                NewExternalPort=external,
                NewProtocol=transport,
            )
        )

    async def _call(self, name: str, **arguments: Any) -> dict[str, Any]:
        return dict(await self._service.action(name).async_call(**arguments))


async def _trying(work: Any) -> Any:
    """What `work` comes to. Raises RemoteError for all that may go wrong with a gateway."""
    from async_upnp_client.exceptions import UpnpError

    try:
        return await asyncio.wait_for(work, 4 * REQUEST_TIME)
    except RemoteError:
        raise
    except (UpnpError, OSError, asyncio.TimeoutError) as error:
        raise RemoteError("portmap-upnp", _sentence(error)) from None
    except _NONSENSE as error:
        raise RemoteError("portmap-upnp", f"it makes no sense: {type(error).__name__}") from None


def _sentence(error: BaseException) -> str:
    code = getattr(error, "error_code", None)
    return f"error {int(code)}" if code is not None else type(error).__name__


async def _search(gateway: str, client: str) -> str:
    """The URL of the gateway's description: asked itself, and as everyone on its network."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str] = loop.create_future()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:

        def readable() -> None:
            with contextlib.suppress(BlockingIOError, RemoteError):
                data, (host, _) = sock.recvfrom(_ANSWER_MAX)
                if host == gateway and not found.done():
                    found.set_result(read_location(data, gateway))

        try:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(client))
            sock.bind((client, 0))
        except OSError as error:
            raise RemoteError("portmap-upnp", error.strerror or "no search") from None
        for host in (gateway, _EVERYONE):
            for device in DEVICES:
                with contextlib.suppress(OSError):
                    sock.sendto(_SEARCH.format(host=host, device=device).encode(), (host, _PORT))
        loop.add_reader(sock, readable)
        try:
            return await asyncio.wait_for(found, SEARCH_TIME)
        except asyncio.TimeoutError:
            raise RemoteError("portmap-upnp", "no answer") from None
        finally:
            loop.remove_reader(sock)


def read_location(data: bytes, gateway: str) -> str:
    """The URL in an answer to a search (UPnP Device Architecture 1.1, section 1.3.3).

    Raises RemoteError("portmap-upnp") if there is none, or it is not of `gateway` itself."""
    first, *lines = data.decode("latin-1").split("\r\n")
    if first.startswith("HTTP/1.1 200"):
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip().lower() == "location" and _belongs(value.strip(), gateway):
                return value.strip()
    raise RemoteError("portmap-upnp", "no location")


def _belongs(url: str, gateway: str) -> bool:
    """Whether `url` is of a web server on the gateway itself."""
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme == "http" and parts.hostname == gateway and parts.port != 0
    except ValueError:
        return False


async def _describe(gateway: str, url: str) -> UpnpDevice:
    from async_upnp_client.client_factory import UpnpFactory

    return await UpnpFactory(_requester(gateway), non_strict=True).async_create_device(url)


def _requester(gateway: str) -> Any:
    """What asks the gateway over HTTP: nobody else, no more than it must, without redirects."""
    import aiohttp
    from async_upnp_client.client import UpnpRequester
    from async_upnp_client.const import HttpResponse

    class Requester(UpnpRequester):
        documents = 0

        async def async_http_request(self, http_request: HttpRequest) -> HttpResponse:
            self.documents += http_request.method == "GET"
            if not _belongs(http_request.url, gateway) or self.documents > DOCUMENTS_MAX:
                raise RemoteError("portmap-upnp", "it points elsewhere")
            timeout = aiohttp.ClientTimeout(total=REQUEST_TIME)
            try:
                async with (
                    aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
                    session.request(
                        http_request.method,
                        http_request.url,
                        headers=http_request.headers,
                        data=http_request.body,
                        allow_redirects=False,
                    ) as response,
                ):
                    body = await _bounded(response.content)
                    return HttpResponse(response.status, response.headers, body)
            except aiohttp.ClientError as error:
                raise RemoteError("portmap-upnp", _sentence(error)) from None

    return Requester()


async def _bounded(content: StreamReader) -> str:
    pieces: list[bytes] = []
    size = 0
    while piece := await content.read(65_536):
        pieces.append(piece)
        size += len(piece)
        if size > DOCUMENT_MAX:
            raise RemoteError("portmap-upnp", "it says too much")
    return b"".join(pieces).decode("utf-8", "replace")
