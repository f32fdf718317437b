"""A gateway that speaks UPnP, for tests: it answers the search, describes itself, and forwards."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

HERE = f"127.6.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}"
"""A loopback address that no other test uses."""
OUTSIDE = "203.0.113.5"

_DEVICE = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0">
<specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
<friendlyName>box</friendlyName><manufacturer>m</manufacturer><modelName>b</modelName>
<UDN>uuid:1</UDN>
<serviceList><service>
<serviceType>urn:schemas-upnp-org:service:{service}</serviceType>
<serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<SCPDURL>{base}/scpd.xml</SCPDURL><controlURL>{base}/control</controlURL>
<eventSubURL>/event</eventSubURL></service></serviceList></device></root>"""

_ARGUMENTS = {
    "AddPortMapping": [
        ("NewRemoteHost", "in", "string"),
        ("NewExternalPort", "in", "ui2"),
        ("NewProtocol", "in", "string"),
        ("NewInternalPort", "in", "ui2"),
        ("NewInternalClient", "in", "string"),
        ("NewEnabled", "in", "boolean"),
        ("NewPortMappingDescription", "in", "string"),
        ("NewLeaseDuration", "in", "ui4"),
    ],
    "DeletePortMapping": [
        ("NewRemoteHost", "in", "string"),
        ("NewExternalPort", "in", "ui2"),
        ("NewProtocol", "in", "string"),
    ],
    "GetExternalIPAddress": [("NewExternalIPAddress", "out", "string")],
}


def _scpd() -> str:
    types = {name: kind for rows in _ARGUMENTS.values() for name, _, kind in rows}
    actions = "".join(
        f"<action><name>{action}</name><argumentList>"
        + "".join(
            f"<argument><name>{name}</name><direction>{direction}</direction>"
            f"<relatedStateVariable>{name}</relatedStateVariable></argument>"
            for name, direction, _ in rows
        )
        + "</argumentList></action>"
        for action, rows in _ARGUMENTS.items()
    )
    variables = "".join(
        f'<stateVariable sendEvents="no"><name>{name}</name><dataType>{kind}</dataType>'
        "</stateVariable>"
        for name, kind in types.items()
    )
    return (
        '<scpd xmlns="urn:schemas-upnp-org:service-1-0"><specVersion><major>1</major>'
        f"<minor>0</minor></specVersion><actionList>{actions}</actionList>"
        f"<serviceStateTable>{variables}</serviceStateTable></scpd>"
    )


@dataclass
class Igd:
    """What it forwards is in `taken`: transport and outer port, and the port and host inside."""

    service: str = "WANIPConnection:1"
    base: str = ""
    location: str | None = None
    address: str = OUTSIDE
    only_permanent: bool = False
    busy: set[int] = field(default_factory=set)
    refuse: int = 0
    document: bytes | None = None
    redirect: str | None = None
    taken: dict[tuple[str, int], tuple[int, str, int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever it was asked to do something."""

    async def __aenter__(self) -> Igd:
        app = web.Application()
        app.router.add_get("/{name}.xml", self._describe)
        app.router.add_post("/control", self._control)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HERE, 0)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        igd = self

        class Search(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport: Any = transport

            def datagram_received(self, data: bytes, source: tuple[str | Any, int]) -> None:
                igd.asked.append("search")
                url = igd.location or f"http://{HERE}:{igd.port}/device.xml"
                kind = re.search(rb"ST: ?(.*)\r\n", data)
                assert kind is not None
                self.transport.sendto(
                    f"HTTP/1.1 200 OK\r\nLOCATION: {url}\r\nST: {kind[1].decode()}\r\n"
                    f"USN: uuid:1::{kind[1].decode()}\r\nEXT:\r\n\r\n".encode(),
                    source,
                )

        loop = asyncio.get_running_loop()
        self._search, _ = await loop.create_datagram_endpoint(Search, local_addr=(HERE, 1900))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._search.close()
        await self._runner.cleanup()

    async def _describe(self, request: web.Request) -> web.Response:
        self.asked.append(request.match_info["name"])
        if self.redirect is not None:
            raise web.HTTPFound(self.redirect)
        if self.document is not None:
            return web.Response(body=self.document)
        if request.match_info["name"] == "scpd":
            return web.Response(text=_scpd(), content_type="text/xml")
        text = _DEVICE.format(service=self.service, base=self.base)
        return web.Response(text=text, content_type="text/xml")

    async def _control(self, request: web.Request) -> web.Response:
        action = request.headers["SOAPAction"].strip('"').partition("#")[2]
        body = await request.text()
        self.asked.append(action)
        self.changed.set()
        arguments = dict(re.findall(r"<(New\w+)>([^<]*)</", body))
        if self.refuse:
            return self._fault(self.refuse)
        found = ""
        if action == "GetExternalIPAddress":
            found = f"<NewExternalIPAddress>{self.address}</NewExternalIPAddress>"
        else:
            key = (arguments["NewProtocol"], int(arguments["NewExternalPort"]))
            if action == "DeletePortMapping":
                if self.taken.pop(key, None) is None:
                    return self._fault(714)
            elif key[1] in self.busy:
                return self._fault(718)
            elif self.only_permanent and arguments["NewLeaseDuration"] != "0":
                return self._fault(725)
            else:
                internal, client = arguments["NewInternalPort"], arguments["NewInternalClient"]
                self.taken[key] = (int(internal), client, int(arguments["NewLeaseDuration"]))
        kind = f"urn:schemas-upnp-org:service:{self.service}"
        return self._envelope(f'<u:{action}Response xmlns:u="{kind}">{found}</u:{action}Response>')

    def _fault(self, code: int) -> web.Response:
        return self._envelope(
            "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
            '<UPnPError xmlns="urn:schemas-upnp-org:control-1-0">'
            f"<errorCode>{code}</errorCode><errorDescription>no</errorDescription></UPnPError>"
            "</detail></s:Fault>",
            500,
        )

    def _envelope(self, body: str, status: int = 200) -> web.Response:
        text = (
            '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
            ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
            f"<s:Body>{body}</s:Body></s:Envelope>"
        )
        return web.Response(text=text, status=status, content_type="text/xml")
