"""The one layer around all routes: ids, headers, limits, and the last resort."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...application.correlation import REQUEST_ID, TRACEPARENT
from ...application.limits import Standings, telling
from ...domain.audit import ClientContext
from ...domain.errors import OriginNotAllowed
from .client_address import CLIENT_KEY, clean_user_agent, client_ip, request_id
from .cors import Cors, RawHeaders
from .deadlines import RequestDeadlines, RequestTime
from .errors import BODY_TOO_LARGE, INTERNAL_ERROR, MALFORMED, Problems, RequestRefused
from .options import HttpOptions
from .principal import PRINCIPAL_KEY
from .rate_limits import rate_limit_headers

MAX_BODY = 64 * 1024

_log = logging.getLogger(__name__)
# W3C Trace Context section 3.2, of the version that has one; zeros alone are no id.
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_DEFAULTS: RawHeaders = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
# The client went away first; the number that nginx logs.
_NOT_ANSWERED = 499
_NO_ROUTE = "none"
_HSTS = (b"strict-transport-security", b"max-age=31536000")


class Layer:
    """Pure ASGI, one for all: each further layer would cost every request its own wrapping.

    Unknown exceptions end here. The framework answers them too, but raises again afterwards,
    whereupon the server drops the connection without telling the client.
    """

    def __init__(self, app: ASGIApp, *, options: HttpOptions, problems: Problems) -> None:
        self._app = app
        self._problems = problems
        self._proxies = options.trusted_proxies
        self._requests = options.requests
        self._told = options.log
        self._draining = options.draining
        self._deadlines = RequestDeadlines(
            options.body_seconds, options.work_seconds, options.commit_seconds
        )
        self._cors = Cors(options.allowed_origins)
        self._defaults = safe_headers(options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = _reading(scope)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scope[CLIENT_KEY] = client = self._client(scope, headers)
        # A task of the server's for each request: nothing has to be taken back.
        REQUEST_ID.set(client.request_id)
        TRACEPARENT.set(_traceparent(headers.get(b"traceparent")))
        with telling() as standings:
            patience = RequestTime(self._deadlines)
            answer = _Answer(
                send, self._added(client, headers), self._defaults, standings, patience
            )
            limited = _limited(scope, receive, headers, patience)
            started = time.perf_counter()
            self._requests.in_flight += 1
            try:
                await self._answer(scope, headers, limited, answer)
            finally:
                patience.stop()
                self._requests.in_flight -= 1
                seconds = time.perf_counter() - started
                route = _template(scope)
                self._requests.observed(scope["method"], route, answer.status, seconds)
                who = scope.get(PRINCIPAL_KEY)
                self._told(
                    scope["method"],
                    route,
                    answer.status,
                    seconds,
                    scope[CLIENT_KEY],
                    who and who.account_id,
                )

    async def _answer(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        answer: "_Answer",
    ) -> None:
        try:
            await self._respond(scope, headers, receive, answer)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            refused = answer.patience.refusal
            if answer.patience.was_cancelled_by_others() or refused is None:
                raise
            _log.warning("gave up", extra={"code": refused.type.code, "route": _template(scope)})
            await self._problems.answer(scope, refused)(scope, receive, answer)
        except Exception:
            _log.exception("unhandled")
            if answer.started:
                # Nothing but a broken connection can tell the client now.
                raise
            refusal = self._problems.answer(scope, RequestRefused(INTERNAL_ERROR))
            await refusal(scope, receive, answer)

    async def _respond(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        if Cors.is_preflight(scope["method"], headers):
            await self._preflight(scope, headers[b"origin"])(scope, receive, send)
        elif b"host" not in headers and scope.get("http_version") == "1.1":
            # RFC 9112 section 3.2.
            refused = RequestRefused(MALFORMED, "The Host header is missing.")
            await self._problems.answer(scope, refused)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _preflight(self, scope: Scope, origin: bytes) -> Response:
        if self._cors.allows(origin):
            return Cors.preflight()
        return self._problems.answer(scope, RequestRefused.because(OriginNotAllowed()))

    def _client(self, scope: Scope, headers: Mapping[bytes, bytes]) -> ClientContext:
        return ClientContext(
            ip=client_ip(scope, self._proxies),
            user_agent=clean_user_agent(headers.get(b"user-agent")),
            request_id=request_id(headers.get(b"x-request-id", b"")),
        )

    def _added(self, client: ClientContext, headers: Mapping[bytes, bytes]) -> RawHeaders:
        request_id = (client.request_id or "").encode()
        return [
            (b"x-request-id", request_id),
            (b"vary", b"Origin"),
            *self._cors.headers_for(headers.get(b"origin")),
            # Or the next request on this connection would meet its end.
            *([(b"connection", b"close")] if self._draining() else ()),
        ]


class _Answer:
    """Sends an answer with our headers; what a route set itself wins over the defaults."""

    __slots__ = ("_added", "_defaults", "_send", "_standings", "patience", "started", "status")

    def __init__(
        self,
        send: Send,
        added: RawHeaders,
        defaults: RawHeaders,
        standings: Standings,
        patience: RequestTime,
    ) -> None:
        self._send = send
        self._added = added
        self._defaults = defaults
        self._standings = standings
        self.patience = patience
        self.started = False
        self.status = _NOT_ANSWERED

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.patience.stop()
            self.status = message["status"]
            given: RawHeaders = list(message.get("headers", ()))
            names = {name for name, _ in given}
            defaults = [pair for pair in self._defaults if pair[0] not in names]
            added = [pair for pair in self._added if pair[0] not in names or pair[0] == b"vary"]
            limits = rate_limit_headers(self._standings)
            message["headers"] = [*given, *defaults, *added, *limits]
        await self._send(message)


def safe_headers(options: HttpOptions) -> RawHeaders:
    """List what every answer bears unless its route says otherwise."""
    return [*_DEFAULTS, _HSTS] if options.is_https else _DEFAULTS


def _reading(scope: Scope) -> Scope:
    """Answer HEAD wherever GET is (RFC 9110 section 9.1).

    The server goes by the scope that it made, and leaves out the body.
    """
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope


def _traceparent(given: bytes | None) -> str | None:
    return given.decode() if given is not None and _TRACEPARENT.fullmatch(given) else None


def _template(scope: Scope) -> str:
    """Name the route as it is written, whatever stood in the path."""
    route = scope.get("route")
    return _NO_ROUTE if route is None else getattr(route, "path", _NO_ROUTE)


def _limited(
    scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], patience: RequestTime
) -> Receive:
    """Refuse a body that is too large when it is read: by what was announced, then by count.

    One that is too slow ends the task.
    """
    if scope["method"] == "GET":
        return receive
    announced = headers.get(b"content-length")
    left = MAX_BODY

    async def counted() -> Message:
        nonlocal left
        if announced is not None and announced.isdigit() and int(announced[:20]) > MAX_BODY:
            raise RequestRefused(BODY_TOO_LARGE)
        patience.reading()
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise RequestRefused(BODY_TOO_LARGE)
        if not message.get("more_body"):
            patience.read()
        return message

    return counted
