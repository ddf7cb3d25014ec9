"""The verifier in gRPC: an interceptor for servers on asyncio."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn

import grpc

from ..domain.errors import AccessTokenInvalid, GatepostError, Kind
from ..domain.tokens import AccessClaims
from .checks import Verifier
from .problems import bearer_token

caller: ContextVar[AccessClaims] = ContextVar("gatepost caller")
CODE = "gatepost-code"
_STATUS = {
    Kind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}
_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets only calls with a good token in, in the metadata `authorization: Bearer ...`.

    `scopes` says what single methods need besides, by full name (`/shop.Orders/List`); `public`
    ones need nothing. Inside a method `caller.get()` is what the token says. The code of a refusal
    is in the trailing metadata, as `gatepost-code`.
    """

    def __init__(
        self,
        verifier: Verifier,
        *,
        scopes: Mapping[str, Sequence[str]],
        public: Collection[str] = (),
    ) -> None:
        self._verifier, self._scopes, self._public = verifier, scopes, public

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        handler = await continuation(details)
        if handler is None or details.method in self._public:
            return handler
        try:
            token = bearer_token(_authorization(details.invocation_metadata))
            caller.set(await self._verifier.verify(token, *self._scopes.get(details.method, ())))
        except GatepostError as refused:
            return _refusing(handler, refused)
        return handler


def _authorization(metadata: Any) -> list[str]:
    values = [value for key, value in metadata or () if key == "authorization"]
    # Metadata may hold bytes, which no token is made of.
    if not all(isinstance(value, str) for value in values):
        raise AccessTokenInvalid
    return values


def _refusing(handler: Any, refused: GatepostError) -> Any:
    """Make a handler of the same kind that refuses every call."""

    async def abort(_: Any, context: Any) -> NoReturn:
        await context.abort(_STATUS[refused.kind], refused.detail, ((CODE, refused.code),))
        raise AssertionError("abort raises")

    make = _MAKERS[handler.request_streaming, handler.response_streaming]
    return make(abort, handler.request_deserializer, handler.response_serializer)
