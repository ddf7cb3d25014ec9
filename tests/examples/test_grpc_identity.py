"""The gRPC example as a program of its own beside a running Gatepost."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from tests.behaviour.driver import PASSWORD, Driver
from tests.behaviour.grpc_driver import OverGrpc, messages, services
from tests.behaviour.suite import Behaviour
from tests.examples.conftest import ROOT
from tests.service import Service, token_in

__all__ = ["TestOverGrpc"]


@pytest.fixture(scope="module")
def address(settings: dict[str, str], admin: dict[str, str]) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.grpc_identity.service"],
        cwd=ROOT,
        env=os.environ | settings | {"GRPC_ADDRESS": "127.0.0.1:0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("Identity is served on ")
        yield line.split()[-1]
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.fixture(scope="module")
async def channel(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address) as opened:
        yield opened


class TestOverGrpc(Behaviour):
    @pytest.fixture
    def driver(self, channel: Any, service: Service) -> Driver:
        def find(address: str, number: int) -> str:
            return token_in(service.mail_to(address, number))

        async def mailed(address: str, number: int) -> str:
            return await asyncio.to_thread(find, address, number)

        return OverGrpc(channel, mailed)


async def refusal(channel: Any, method: str, form: Any, *metadata: tuple[str, str]) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await getattr(services.IdentityStub(channel), method)(form, metadata=metadata)
    return failed.value


def told(error: Any) -> dict[str, str]:
    return {key: value for key, value in error.trailing_metadata() if isinstance(value, str)}


async def test_each_refusal_has_the_status_of_its_kind_and_its_code(channel: Any) -> None:
    login = messages.Login(login="nobody", password=PASSWORD)
    for method, form, status, code in (
        ("LogIn", login, grpc.StatusCode.UNAUTHENTICATED, "invalid_credentials"),
        ("Me", messages.Nothing(), grpc.StatusCode.UNAUTHENTICATED, "unauthenticated"),
        (
            "VerifyEmail",
            messages.Verification(token="none", password=PASSWORD),
            grpc.StatusCode.FAILED_PRECONDITION,
            "token_invalid",
        ),
    ):
        error = await refusal(channel, method, form)
        assert (error.code(), told(error)["gatepost-code"]) == (status, code)


async def test_bad_input_is_named_by_field_and_never_repeated(channel: Any) -> None:
    form = messages.Registration(username="?", email="no-address", password="short")
    error = await refusal(channel, "Register", form)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    fields = {each["field"] for each in json.loads(told(error)["gatepost-errors"])}
    assert fields == {"username", "email", "password"}
    assert "no-address" not in str(error)


@pytest.mark.parametrize("name", ["login", "password", "device_name"])
async def test_in_01_nul_is_refused_over_grpc_too(channel: Any, name: str) -> None:
    form = messages.Login(**({"login": "ada", "password": PASSWORD} | {name: "a\0b"}))
    error = await refusal(channel, "LogIn", form)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert json.loads(told(error)["gatepost-errors"])[0]["field"] == name


@pytest.mark.parametrize("sent", [b"\x0a\x02\xff\xfe", b"\x0a\x7f", b"{}"])
async def test_in_01_what_is_no_message_is_no_fault_of_the_service(
    channel: Any, sent: bytes
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channel.unary_unary("/gatepost.v1.Identity/LogIn")(sent)
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told(failed.value)["gatepost-code"] == "malformed_request"


async def test_in_03_a_message_over_the_limit_is_refused(channel: Any) -> None:
    form = messages.Login(login="ada", password="a" * 70_000)
    assert (await refusal(channel, "LogIn", form)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
