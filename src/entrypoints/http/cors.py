"""Which pages of other origins may read answers (Fetch standard, CORS protocol)."""

from collections.abc import Mapping

from starlette.responses import Response

RawHeaders = list[tuple[bytes, bytes]]

_EXPOSED = (
    "Retry-After, RateLimit, RateLimit-Policy, ETag, Link, Location, X-Request-ID, "
    "Idempotency-Replayed, WWW-Authenticate"
)
_METHODS = "GET, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Accept-Language, "
    "X-Request-ID, X-Requested-With, traceparent, tracestate"
)
_PREFLIGHT_SECONDS = "600"


class Cors:
    """Exact origins only: a suffix match or `*` would hand credentials to strangers."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = origins

    def headers_for(self, origin: bytes | None) -> RawHeaders:
        """List what any answer to this origin carries, errors included."""
        if origin is None or not self.allows(origin):
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", _EXPOSED.encode()),
        ]

    def allows(self, origin: bytes) -> bool:
        return origin.decode("latin-1") in self._origins

    @staticmethod
    def is_preflight(method: str, headers: Mapping[bytes, bytes]) -> bool:
        asks = b"origin" in headers and b"access-control-request-method" in headers
        return method == "OPTIONS" and asks

    @staticmethod
    def preflight() -> Response:
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Methods": _METHODS,
                "Access-Control-Allow-Headers": _REQUEST_HEADERS,
                "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
            },
        )
