"""The behaviour suite on PostgreSQL: in this process, and mounted in a host."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from fastapi import FastAPI

from gatepost import Gatepost, Settings, http_options, load_settings, mount, open_embedded
from tests.behaviour.driver import Driver
from tests.behaviour.drivers import InProcess, OverHttp, make_admin, tokens_in_folder
from tests.behaviour.suite import Behaviour
from tests.integration.conftest import Databases, named

HOST = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
async def settings(
    databases: Databases, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Settings]:
    name = await databases.create(template)
    yield load_settings(
        database_url=named(databases.url, name),
        data_dir=tmp_path_factory.mktemp("data"),
        public_url=f"{HOST}/auth",
        limits={"enabled": False},
        password={"memory_kib": 1024},
    )
    await databases.drop(name)


@pytest.fixture(scope="module")
async def gatepost(settings: Settings) -> AsyncIterator[Gatepost]:
    async with open_embedded(settings) as opened:
        await make_admin(opened)
        yield opened


@pytest.fixture(scope="module")
async def mounted(gatepost: Gatepost, settings: Settings) -> AsyncIterator[Driver]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        mount(app, "/auth", gatepost, http_options(settings))
        yield

    host = FastAPI(lifespan=lifespan)
    transport = httpx2.ASGITransport(host)
    async with (
        host.router.lifespan_context(host),
        httpx2.AsyncClient(transport=transport, base_url=f"{HOST}/auth") as http,
    ):
        yield OverHttp(http, tokens_in_folder(settings.data_dir / "mail"))


class TestInProcess(Behaviour):
    @pytest.fixture
    def driver(self, gatepost: Gatepost, settings: Settings) -> Driver:
        return InProcess(gatepost, tokens_in_folder(settings.data_dir / "mail"))


class TestMounted(Behaviour):
    @pytest.fixture
    def driver(self, mounted: Driver) -> Driver:
        return mounted
