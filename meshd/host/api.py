"""The daemon's HTTP: management on a unix socket, `/health` and `/metrics` on a TCP port too.

Who may ask what:

- The unix socket has mode 0660, so its owner and group may connect. Reading needs no more; what
  changes something (`down`, `leave`, `invite`, `revoke`, `renew`) needs root or the daemon's own
  user, by SO_PEERCRED.
- On TCP there is nothing but `/health` and `/metrics`. The Host header must be one that this
  server knows, so that a page that rebinds its name to our address learns nothing (HTTP/1.0 may
  leave it out). A connection carries one request and lives ten seconds; of too many, the oldest
  goes.
- A request with an Origin comes from a web page, and is refused on both.

JSON on the unix socket; failures are `{"error": sentence, "exit_code": n}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import HttpVersion11, hdrs, web

from meshd.contract import Backend
from meshd.node.errors import LocalError, RemoteError
from meshd.node.grants import Grants, check_grants, parse_route

MAX_BODY = 65_536
"""Bytes of a request's body."""

MAX_CONNECTIONS = 64
"""TCP connections at once."""

CONNECTION_LIFETIME = 10.0
"""Seconds after which a TCP connection is closed, whatever it is doing."""

MAX_TEXT = 255
"""Characters of a peer's or an address's name in a request."""

MAX_PING_TIMEOUT = 30.0
"""Seconds that one ping may wait."""

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?", re.IGNORECASE)
_PEERCRED = struct.Struct("3i")
_log = logging.getLogger("meshd.api")
_quiet = logging.Logger("aiohttp", logging.CRITICAL + 1)
"""For aiohttp, which writes a traceback for each malformed request that a stranger sends."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiServer:
    """Serves `backend` until `stop`, on listening sockets that `listeners` opened.

    Without `public` there is no TCP. `hosts` are names, beside `localhost`, loopback addresses and
    the address connected to, that a Host header may carry.
    """

    def __init__(
        self,
        backend: Backend,
        local: socket.socket,
        public: socket.socket | None,
        hosts: Sequence[str] = (),
    ) -> None:
        names = {"localhost", "127.0.0.1", "::1", *(host.lower() for host in hosts)}
        self._local_socket = local
        self._public_socket = public
        self._local = _runner(_LocalApi(backend).routes(), _guard_local)
        self._public = _runner(_ReadApi(backend).routes(), _guard_public(frozenset(names)))
        self._servers: list[asyncio.Server] = []
        self._open: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    async def start(self) -> None:
        """Begin to answer; the event loop now owns the sockets."""
        loop = asyncio.get_running_loop()
        await self._local.setup()
        await self._public.setup()
        accept = self._local.server
        assert accept is not None
        self._servers.append(await loop.create_unix_server(accept, sock=self._local_socket))
        if self._public_socket is not None:
            self._servers.append(await loop.create_server(self._accept, sock=self._public_socket))

    async def stop(self) -> None:
        """Close everything; may be called twice."""
        for server in self._servers:
            server.close()
        for timer in self._open.values():
            timer.cancel()
        self._open.clear()
        await self._local.cleanup()
        await self._public.cleanup()

    def _accept(self) -> web.RequestHandler:
        """A handler for a new TCP connection, with its end set."""
        if len(self._open) >= MAX_CONNECTIONS:
            self._end(next(iter(self._open)))
        server = self._public.server
        assert server is not None
        handler = server()
        loop = asyncio.get_running_loop()
        self._open[handler] = loop.call_later(CONNECTION_LIFETIME, self._end, handler)
        return handler

    def _end(self, handler: web.RequestHandler) -> None:
        timer = self._open.pop(handler, None)
        if timer is not None:
            timer.cancel()
        handler.force_close()


def _runner(routes: list[web.RouteDef], guard: Any) -> web.AppRunner:
    app = web.Application(client_max_size=MAX_BODY, middlewares=[guard])
    app.add_routes(routes)
    return web.AppRunner(
        app, handle_signals=False, access_log=None, logger=_quiet, shutdown_timeout=1.0
    )


class _ReadApi:
    """What TCP serves."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/health", self._health), web.get("/metrics", self._metrics)]

    async def _health(self, request: web.Request) -> web.Response:
        try:
            healthy, text = self._backend.health()
        except Exception:  # whatever it is, the answer to "are you well" is no
            _log.exception("health could not be told")
            healthy, text = False, "internal error, see the log"
        if healthy:
            return web.Response(text="healthy\n")
        # A load balancer looks for the word: it must not stand in the other answer.
        plain = re.sub(r"healthy", "well", _one_line(text), flags=re.IGNORECASE)
        return web.Response(status=503, text=f"failing: {plain}\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        body = await self._backend.metrics()
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: METRICS_TYPE})


class _LocalApi(_ReadApi):
    """What the unix socket serves."""

    def routes(self) -> list[web.RouteDef]:
        return [
            *super().routes(),
            web.get("/v1/status", self._status),
            web.get("/v1/routes", self._routes),
            web.get("/v1/netcheck", self._netcheck),
            web.post("/v1/why", self._why),
            web.post("/v1/lookup", self._lookup),
            web.post("/v1/ping", self._ping),
            web.post("/v1/invite", self._invite),
            web.post("/v1/revoke", self._revoke),
            web.post("/v1/renew", self._renew),
            web.post("/v1/down", self._down),
            web.post("/v1/leave", self._leave),
        ]

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(self._backend.status())

    async def _routes(self, request: web.Request) -> web.Response:
        return web.json_response({"routes": self._backend.routes()})

    async def _lookup(self, request: web.Request) -> web.Response:
        text = _text(await _body(request, "query"), "query")
        return web.json_response(await self._backend.lookup(text))

    async def _netcheck(self, request: web.Request) -> web.Response:
        return web.json_response(self._backend.netcheck())

    async def _why(self, request: web.Request) -> web.Response:
        peer = _text(await _body(request, "peer"), "peer")
        return web.json_response(await self._backend.why(peer))

    async def _ping(self, request: web.Request) -> web.Response:
        body = await _body(request, "peer", "timeout")
        timeout = body.get("timeout", 5.0)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise LocalError("timeout must be a number of seconds")
        if not 0 < timeout <= MAX_PING_TIMEOUT:
            raise LocalError(f"timeout must be above 0 and at most {MAX_PING_TIMEOUT:g} seconds")
        pong = await self._backend.ping(_text(body, "peer"), float(timeout))
        return web.json_response({"pong": pong})

    async def _invite(self, request: web.Request) -> web.Response:
        _manager(request)
        body = await _body(request, "name", "roles", "routes", "groups", "lifetime")
        lifetime = body.get("lifetime")
        if isinstance(lifetime, bool) or not isinstance(lifetime, int):
            raise LocalError("lifetime must be a whole number of seconds")
        grants = check_grants(
            Grants(
                name=_text(body, "name") if body.get("name") else "",
                roles=_words(body, "roles"),
                routes=tuple(parse_route(route) for route in _words(body, "routes")),
                groups=_words(body, "groups"),
            )
        )
        return web.json_response(await self._backend.invite(grants, lifetime))

    async def _revoke(self, request: web.Request) -> web.Response:
        _manager(request)
        node = _text(await _body(request, "node"), "node")
        return web.json_response(await self._backend.revoke(node))

    async def _renew(self, request: web.Request) -> web.Response:
        _manager(request)
        await _body(request)
        return web.json_response(await self._backend.renew())

    async def _down(self, request: web.Request) -> web.Response:
        _manager(request)
        await _body(request)
        await self._backend.down()
        return web.json_response({}, status=202)

    async def _leave(self, request: web.Request) -> web.Response:
        _manager(request)
        await _body(request)
        return web.json_response(await self._backend.leave())


@web.middleware
async def _guard_local(request: web.Request, handler: Handler) -> web.StreamResponse:
    if hdrs.ORIGIN in request.headers:
        return _failure("requests from web pages are refused", 403)
    try:
        return await handler(request)
    except LocalError as error:
        return _failure(str(error), 409, error.exit_code)
    except RemoteError as error:
        return _failure(str(error), 502)
    except web.HTTPException as error:
        return _failure(error.text or error.reason, error.status)
    except Exception:
        _log.exception("%s failed", request.path)
        return _failure("meshd met an error of its own: see its log", 500)


def _guard_public(hosts: frozenset[str]) -> Any:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if hdrs.ORIGIN in request.headers:
            response: web.StreamResponse = web.Response(
                status=403, text="requests from web pages are refused\n"
            )
        elif not _host_allowed(request, hosts):
            response = web.Response(
                status=403, text="this Host is not one of ours: add its name to api.hosts\n"
            )
        else:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = web.Response(status=error.status, text=f"{error.reason}\n")
            except Exception:
                _log.exception("%s failed", request.path)
                response = web.Response(status=500, text="failing: internal error, see the log\n")
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers[hdrs.SERVER] = "meshd"
        response.force_close()
        return response

    return guard


def _host_allowed(request: web.Request, hosts: frozenset[str]) -> bool:
    given = request.headers.getall(hdrs.HOST, [])
    if not given:
        return request.version < HttpVersion11
    match = _HOST.fullmatch(given[0])
    if len(given) > 1 or match is None:
        return False
    name = (match[1] or match[2]).lower()
    if name in hosts:
        return True
    transport = request.transport
    here = transport.get_extra_info("sockname")[0] if transport else ""
    with contextlib.suppress(ValueError):
        return _address(name) == _address(here)
    return False


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address, an IPv4 one as such even when an IPv6 socket names it."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _manager(request: web.Request) -> None:
    """Let only root and the daemon's own user pass; the log keeps who it was."""
    pid, uid = _asker(request)
    if uid not in (0, os.geteuid()):
        raise web.HTTPForbidden(text="only root and meshd's own user may do this: try with sudo")
    _log.info("%s asked for by user %d, process %d", request.path, uid, pid)


def _asker(request: web.Request) -> tuple[int, int]:
    """Process and user at the other end of the unix socket (SO_PEERCRED, unix(7))."""
    sock = request.transport.get_extra_info("socket") if request.transport else None
    if sock is None:
        raise web.HTTPForbidden(text="the connection is gone")
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
    pid, uid, _ = _PEERCRED.unpack(data)
    return pid, uid


async def _body(request: web.Request, *allowed: str) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send application/json")
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest(text="the body is not JSON") from None
    if not isinstance(body, dict) or not body.keys() <= set(allowed):
        raise web.HTTPBadRequest(text=f"send an object with {', '.join(allowed) or 'nothing'}")
    return body


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise LocalError(f"{key} must be a text of 1 to {MAX_TEXT} characters")
    return value


def _words(body: dict[str, Any], key: str) -> tuple[str, ...]:
    value = body.get(key, [])
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise LocalError(f"{key} must be a list of texts")
    return tuple(value)


def _failure(text: str, status: int, exit_code: int = 1) -> web.Response:
    return web.json_response({"error": text, "exit_code": exit_code}, status=status)


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:300]
