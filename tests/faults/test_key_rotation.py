"""Keys change under the eyes of those who verify, and nobody sees a failure."""

import asyncio
import base64
import os
import random
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx2
import jwt
import pytest

from gatepost.adapters.cipher import KeyringCipher, MasterKeys
from gatepost.adapters.postgres.migrate import upgrade
from gatepost.application.ports.delivery import JobName
from gatepost.application.ports.security import SealBroken, SealPurpose
from gatepost.domain.audit import ClientContext
from gatepost.domain.keys import KeyPolicy, KeyState
from gatepost.domain.roles import Principal, Scope
from gatepost.entrypoints import container
from gatepost.entrypoints.container import open_gatepost
from gatepost.entrypoints.settings import Settings, load
from gatepost.testing.builders import (
    new_id,
)
from tests.children import IMPORTING, becomes_true
from tests.faults.database import Database
from tests.service import free_port

A, B = (base64.b64encode(bytes(range(start, start + 32))).decode() for start in (1, 101))
ISSUER = "http://id.example.test"
# Seconds instead of minutes, with a second to spare for a machine that is busy.
HASTY = """
from datetime import timedelta
from gatepost.__main__ import main
from gatepost.domain.keys import KeyPolicy
from gatepost.entrypoints import container
container.key_policy = lambda _: KeyPolicy(
    cache=timedelta(seconds=1), reload=timedelta(milliseconds=500)
)
main()
"""
ROTATING = KeyPolicy(
    cache=timedelta(seconds=1),
    reload=timedelta(milliseconds=1500),
    slack=timedelta(seconds=1),
)
NOBODY = ClientContext()


class Replica:
    """A server process on a port of its own, on a database that it shares."""

    def __init__(self, url: str, folder: Path) -> None:
        self.database, self.folder, self.port = url, folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, keys: str) -> None:
        self.process = self.run(keys, "serve", "--port", str(self.port))
        assert becomes_true(self._is_ready, 60), self.log()

    def run(self, keys: str, *arguments: str) -> subprocess.Popen[bytes]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment = kept | IMPORTING | settings_of(self.database, keys)
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", HASTY, *arguments],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx2.HTTPError:
            return False


def settings_of(url: str, keys: str) -> dict[str, str]:
    return {
        "DATABASE_URL": url,
        "GATEPOST_SECRETS__KEYS": keys,
        "GATEPOST_PUBLIC_URL": ISSUER,
        "GATEPOST_LIMITS__ENABLED": "false",
        "GATEPOST_TOKENS__ACCESS_TTL": "6s",
        "GATEPOST_LOG__FORMAT": "json",
    }


class CachingVerifier:
    """Verifies as an API would: keeps the published keys for as long as it was told to.

    For a kid that it does not know it asks nobody, so that nothing hides a key that came late.
    """

    def __init__(self, fetch: Callable[[], Awaitable[httpx2.Response]]) -> None:
        self._fetch = fetch
        self._keys: dict[str, jwt.PyJWK] = {}
        self._expires = 0.0

    async def verify(self, token: str) -> str:
        """Return the kid; raises KeyError and PyJWTError."""
        if time.monotonic() >= self._expires:
            answer = await self._fetch()
            self._keys = {key["kid"]: jwt.PyJWK(key) for key in answer.json()["keys"]}
            max_age = int(answer.headers["cache-control"].partition("max-age=")[2])
            self._expires = time.monotonic() + max_age
        kid = str(jwt.get_unverified_header(token)["kid"])
        key = self._keys[kid]
        jwt.decode(token, key.key, algorithms=[key.algorithm_name], audience=ISSUER, issuer=ISSUER)
        return kid


class Load:
    """Clients that get tokens from one replica and show them to others, and to verifiers."""

    def __init__(self, replicas: list[Replica], credentials: tuple[str, str]) -> None:
        self.replicas, self.credentials = replicas, credentials
        self.http = httpx2.AsyncClient(
            limits=httpx2.Limits(max_keepalive_connections=0), timeout=20
        )
        self.verifiers = [CachingVerifier(self._published) for _ in range(3)]
        self.seen: deque[tuple[float, str]] = deque(maxlen=400)
        self.kids: set[str] = set()
        self.verified = 0
        self.failures: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work for as long as the block takes, and then have seen no failure."""
        stop = asyncio.Event()
        async with self.http:
            tasks = [asyncio.create_task(self._client(stop)) for _ in range(4)]
            yield
            stop.set()
            await asyncio.gather(*tasks)
        assert self.failures == []

    async def _client(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            issued = time.monotonic()
            answer = await self._ask("POST", "/oauth2/token", auth=self.credentials, data=GRANT)
            token = answer.json()["access_token"]
            await self._check(token)
            self.seen.append((issued, token))
            # A client may use what it has for as long as it is good.
            usable = [old for at, old in self.seen if at > time.monotonic() - 4]
            await self._check(random.choice(usable or [token]))  # noqa: S311
            await asyncio.sleep(0.05)

    async def _check(self, token: str) -> None:
        for verifier in self.verifiers:
            try:
                self.kids.add(await verifier.verify(token))
                self.verified += 1
            except jwt.ExpiredSignatureError:
                # Possible where this process was held up for seconds.
                return
            except (KeyError, jwt.PyJWTError) as refused:
                self.failures.append(f"verifier: {refused!r}")
        shown = {"Authorization": f"Bearer {token}"}
        answer = await self._ask(
            "POST", "/oauth2/introspect", headers=shown, data={"token": token}
        )
        expired = jwt.decode(token, options={"verify_signature": False})["exp"] <= time.time()
        if not expired and not (answer.status_code == 200 and answer.json()["active"]):
            self.failures.append(f"replica: {answer.status_code} {answer.text}")

    async def _published(self) -> httpx2.Response:
        return await self._ask("GET", "/.well-known/jwks.json")

    async def _ask(self, method: str, path: str, **named: object) -> httpx2.Response:
        """Ask a replica that listens, as a load balancer would find one."""
        while True:
            replica = random.choice(self.replicas)  # noqa: S311
            try:
                return await self.http.request(method, replica.url + path, **named)  # type: ignore[arg-type]
            except httpx2.TransportError:
                await asyncio.sleep(0.02)


GRANT = {"grant_type": "client_credentials"}
OVERDUE = "INSERT INTO pgqueuer_schedules (expression, entrypoint) VALUES ('*/5 * * * *', $1)"
# The tick queues a job before it counts as run.
DONE = """
SELECT bool_and(last_run IS NOT NULL)
   AND NOT EXISTS (SELECT FROM pgqueuer WHERE entrypoint = $1)
  FROM pgqueuer_schedules WHERE entrypoint = $1
"""


@pytest.fixture
async def own_url(database: Database) -> AsyncIterator[str]:
    """A database whose keys nobody else turns."""
    name = f"keys_{new_id().hex}"
    await database.rows(f"CREATE DATABASE {name}")
    url = urlunsplit(urlsplit(database.direct_url)._replace(path=f"/{name}"))
    await upgrade(url)
    yield url
    await database.rows(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def make_replica(own_url: str, tmp_path: Path) -> Iterator[Callable[[], Replica]]:
    made: list[Replica] = []

    def make() -> Replica:
        made.append(Replica(own_url, tmp_path))
        return made[-1]

    yield make
    for replica in made:
        replica.stop()


def settings(monkeypatch: pytest.MonkeyPatch, url: str, keys: str) -> Settings:
    for name, value in settings_of(url, keys).items():
        monkeypatch.setenv(name, value)
    return load()


async def client_of(settings: Settings) -> tuple[str, str]:
    operator = Principal.operator()
    async with open_gatepost(settings) as gatepost:
        made = await gatepost.clients.create(
            actor=operator, name="api", scopes=[Scope.TOKENS_INTROSPECT], client=NOBODY
        )
        secret = await gatepost.clients.add_secret(
            actor=operator, client_id=made.id, client=NOBODY
        )
    return str(made.id), secret.client_secret


async def sealed_keys(url: str) -> list[bytes]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT sealed_private_key FROM signing_keys")
    await connection.close()
    return [bytes(row[0]) for row in rows]


def opens(keys: str, sealed: bytes) -> bool:
    try:
        KeyringCipher(MasterKeys.parse(keys)).open(SealPurpose.SIGNING_KEY, sealed)
    except SealBroken:
        return False
    return True


@pytest.mark.timeout(240)
async def test_jw_18_ten_rotations_under_load_fail_no_verification(
    make_replica: Callable[[], Replica], own_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings(monkeypatch, own_url, A)
    monkeypatch.setattr(container, "key_policy", lambda _: ROTATING)
    traffic = Load([make_replica(), make_replica()], await client_of(own))
    await asyncio.gather(*(asyncio.to_thread(one.start, A) for one in traffic.replicas))
    active: set[str] = set()
    async with open_gatepost(own) as gatepost, traffic.running():
        while len(active) < 11:
            await gatepost.keys.rotate(early=True)
            listed = await gatepost.keys.list()
            active |= {one.key.kid for one in listed if one.key.state is KeyState.ACTIVE}
            await asyncio.sleep(0.3)
        await asyncio.sleep(1)
    assert traffic.kids == active
    assert traffic.verified > 500
    assert len(await sealed_keys(own_url)) < 8


@pytest.mark.timeout(240)
async def test_a_new_master_key_takes_over_under_load_and_the_old_one_goes(
    make_replica: Callable[[], Replica], own_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = await client_of(settings(monkeypatch, own_url, A))
    traffic = Load([make_replica()], credentials)
    await asyncio.to_thread(traffic.replicas[0].start, A)
    async with traffic.running():
        for keys in (f"{A},{B}", f"{B},{A}"):
            await replace_under(traffic, make_replica(), keys)
        assert all([opens(A, sealed) for sealed in await sealed_keys(own_url)])
        await worked(make_replica(), f"{B},{A}", own_url)
        assert not any([opens(A, sealed) for sealed in await sealed_keys(own_url)])
        await replace_under(traffic, make_replica(), B)
    assert len(traffic.kids) == 1
    late = make_replica()
    assert await asyncio.to_thread(late.run(A, "serve").wait, 60) == 1
    told = late.log().splitlines()[-1]
    assert told.startswith("gatepost: settings_invalid: GATEPOST_SECRETS__KEYS: ")
    assert traffic.kids.pop() in told
    assert A not in late.log()


async def replace_under(traffic: Load, new: Replica, keys: str) -> None:
    """Deploy one more, let both answer for a while, and take the older one away."""
    await asyncio.to_thread(new.start, keys)
    traffic.replicas.append(new)
    verified = traffic.verified
    while traffic.verified < verified + 100:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    await asyncio.to_thread(traffic.replicas.pop(0).stop)


async def worked(replica: Replica, keys: str, url: str) -> None:
    """Let a worker do what it does every five minutes."""
    connection = await asyncpg.connect(url)
    await connection.execute(OVERDUE, JobName.ROTATE_KEYS.value)
    worker = replica.run(keys, "worker")
    async with asyncio.timeout(60):
        while not await connection.fetchval(DONE, JobName.ROTATE_KEYS.value):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    worker.terminate()
    assert await asyncio.to_thread(worker.wait, 30) == 0
    await connection.close()
