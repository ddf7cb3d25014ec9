"""The interceptor for gRPC servers, around a service of its own."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from gatepost.verifier import Verifier
from gatepost.verifier.grpc import TokenInterceptor, caller
from tests.unit.verifier.issuer import AUDIENCE, ISSUER, Issuer


async def say(request: bytes, context: Any) -> bytes:
    return caller.get().scope.encode()


async def say_often(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for _ in range(2):
        yield caller.get().scope.encode()


async def count(requests: Any, context: Any) -> bytes:
    return str(len([each async for each in requests])).encode()


async def echo(requests: Any, context: Any) -> AsyncIterator[bytes]:
    async for each in requests:
        yield each


async def greet(request: bytes, context: Any) -> bytes:
    return b"anybody"


HANDLERS = {
    "Say": grpc.unary_unary_rpc_method_handler(say),
    "SayOften": grpc.unary_stream_rpc_method_handler(say_often),
    "Count": grpc.stream_unary_rpc_method_handler(count),
    "Echo": grpc.stream_stream_rpc_method_handler(echo),
    "Greet": grpc.unary_unary_rpc_method_handler(greet),
}


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
async def channel(issuer: Issuer) -> AsyncIterator[Any]:
    verifier = Verifier(issuer=ISSUER, audience=AUDIENCE, fetch=issuer.fetch, now=issuer.clock)
    interceptor = TokenInterceptor(
        verifier, scopes={"/shop.Orders/Say": ["orders:read"]}, public=["/shop.Orders/Greet"]
    )
    server = grpc.aio.server(interceptors=[interceptor])
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("shop.Orders", HANDLERS)]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(None)


def bearing(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def call(
    channel: Any, method: str, metadata: Any = (), requests: Sequence[bytes] = ()
) -> Any:
    path = f"/shop.Orders/{method}"
    if method == "SayOften":
        return [each async for each in channel.unary_stream(path)(b"", metadata=metadata)]
    if method == "Count":
        return await channel.stream_unary(path)(iter(requests), metadata=metadata)
    if method == "Echo":
        stream = channel.stream_stream(path)(iter(requests), metadata=metadata)
        return [each async for each in stream]
    return await channel.unary_unary(path)(b"", metadata=metadata)


async def test_a_good_token_opens_calls_of_every_kind(channel: Any, issuer: Issuer) -> None:
    token = issuer.forge(issuer.members() | {"scope": "orders:read"})
    sent = [b"a", b"b", b"c"]
    found = [await call(channel, method, bearing(token), sent) for method in HANDLERS]
    said = b"orders:read"
    assert found == [said, [said, said], b"3", sent, b"anybody"]


@pytest.mark.parametrize("method", ["Say", "SayOften", "Count", "Echo"])
@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ((), "unauthenticated"),
        (bearing("a.b.c"), "access_token_invalid"),
        (bearing("a") + bearing("b"), "access_token_invalid"),
    ],
)
async def test_calls_of_every_kind_are_refused_without_one(
    channel: Any, method: str, metadata: Any, code: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, method, metadata)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert dict(refused.value.trailing_metadata())["gatepost-code"] == code


async def test_a_public_method_needs_no_token(channel: Any) -> None:
    assert await call(channel, "Greet") == b"anybody"


async def test_a_method_that_is_not_there_is_unimplemented(channel: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, "Nothing")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_scope_that_lacks_is_permission_denied(channel: Any, issuer: Issuer) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, "Say", bearing(issuer.sign()))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "orders:read" in str(refused.value.details())


async def test_keys_that_cannot_be_read_are_no_fault_of_the_token(issuer: Issuer) -> None:
    away = Issuer()
    away.is_down = True
    verifier = Verifier(issuer=ISSUER, audience=AUDIENCE, fetch=away.fetch)
    server = grpc.aio.server(interceptors=[TokenInterceptor(verifier, scopes={})])
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("shop.Orders", HANDLERS)]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, "Say", bearing(away.sign()))
    await server.stop(None)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
