"""A real Traefik with the configuration that is shipped, before two servers."""

import asyncio
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import cycle
from pathlib import Path

import httpx2
import pytest

from tests.faults.database import Database
from tests.service import PASSWORD, Service, free_port, register

FOLDER = Path(__file__).parents[2]
SHIPPED = FOLDER / "deploy" / "traefik"


class Traefik:
    """The program with the shipped files; addresses differ, and for slow clients the time."""

    def __init__(self, folder: Path, upstreams: list[int], slow_after: str = "15s") -> None:
        self.port, self.plain = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self._folder = folder
        places = {
            ":8080": f"127.0.0.1:{self.plain}",
            ':8443"\n': f'127.0.0.1:{self.port}"\n',
            ":8443": f":{self.port}",
            ":8082": f"127.0.0.1:{free_port()}",
            "/etc/traefik/": f"{folder}/",
            "/tls/": f"{folder}/",
            "http://gatepost-server-1:8000": f"http://127.0.0.1:{upstreams[0]}",
            "http://gatepost-server-2:8000": f"http://127.0.0.1:{upstreams[1]}",
            "readTimeout: 15s": f"readTimeout: {slow_after}",
        }
        for name in ("traefik.yaml", "gatepost.yaml"):
            text = (SHIPPED / name).read_text()
            for shipped, here in places.items():
                text = text.replace(shipped, here)
            (folder / name).write_text(text)

    def start(self) -> None:
        maker = FOLDER / "deploy" / "compose" / "certificate.py"
        subprocess.run([sys.executable, str(maker), str(self._folder)], check=True)
        program = Path(sys.executable).with_name("traefik")
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [str(program), f"--configFile={self._folder}/traefik.yaml"],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not self._passes():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def _passes(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz", verify=self.trusting()).status_code == 200
        except httpx2.TransportError:
            return False

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._folder / "tls.crt"))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=40)


@pytest.fixture(scope="module")
async def database(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Database]:
    database = Database(tmp_path_factory.mktemp("traefik") / "postgres")
    await database.start()
    yield database
    await database.stop()


@pytest.fixture(scope="module")
def servers(
    database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Service]]:
    settings = {
        "DATABASE_URL": database.direct_url,
        "GATEPOST_ACCOUNTS__REQUIRE_VERIFIED_EMAIL": "false",
        "GATEPOST_HTTP__SHUTDOWN_DELAY": "3s",
        "GATEPOST_HTTP__TRUSTED_PROXIES": "127.0.0.0/8",
        "GATEPOST_PUBLIC_URL": "https://127.0.0.1",
        "GATEPOST_SECRETS__KEYS": database.master_key,
    }
    started = []
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        started.append(Service(folder / "data", free_port(), **settings))
        started[-1].start()
    yield started
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def traefik(servers: list[Service], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traefik]:
    traefik = Traefik(tmp_path_factory.mktemp("proxy"), [one.port for one in servers])
    traefik.start()
    yield traefik
    traefik.stop()


@pytest.fixture(scope="module")
def client(traefik: Traefik) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=traefik.url, verify=traefik.trusting(), timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def bearer(client: httpx2.Client) -> dict[str, str]:
    assert register(client, "ada").status_code == 201
    return {"Authorization": f"Bearer {signed_in(client)}"}


def signed_in(client: httpx2.Client, **headers: str) -> str:
    body = {"login": "ada", "password": PASSWORD}
    answer = client.post("/v1/sessions", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["access_token"])


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_it_speaks_http_2_over_tls_and_leads_there(traefik: Traefik) -> None:
    plain = httpx2.get(f"http://127.0.0.1:{traefik.plain}/livez?x=1")
    assert plain.status_code in (301, 308)
    assert plain.headers["location"] == f"{traefik.url}/livez?x=1"
    context = traefik.trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", traefik.port)) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as spoken,
    ):
        assert spoken.selected_alpn_protocol() == "h2"
        assert spoken.version() == "TLSv1.3"
    old = traefik.trusting()
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", traefik.port)) as raw,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        old.wrap_socket(raw, server_hostname="127.0.0.1")


def test_headers_of_the_service_arrive_as_they_are(
    client: httpx2.Client, servers: list[Service]
) -> None:
    through = client.get("/livez", headers={"X-Request-ID": "chosen-by-a-client"})
    past = httpx2.get(f"{servers[0].url}/livez")
    own = {"date", "x-request-id", "connection"}
    assert {n: v for n, v in through.headers.items() if n not in own} == {
        n: v for n, v in past.headers.items() if n not in own
    }
    assert "strict-transport-security" in through.headers
    assert through.headers["x-request-id"] != "chosen-by-a-client"


def test_large_bodies_and_headers_are_refused(client: httpx2.Client) -> None:
    assert client.post("/v1/sessions", content=b"x" * 70_000).status_code == 413
    assert client.get("/livez", headers={"X-Long": "x" * 70_000}).status_code == 431


def test_the_address_of_the_client_is_the_one_that_the_proxy_saw(
    client: httpx2.Client, bearer: dict[str, str]
) -> None:
    signed_in(client, **{"X-Forwarded-For": "198.51.100.77", "X-Real-Ip": "198.51.100.77"})
    sessions = client.get("/v1/sessions", headers=bearer).json()["items"]
    assert {session["ip"] for session in sessions} == {"127.0.0.1"}


def test_slow_clients_are_let_go(servers: list[Service], tmp_path: Path) -> None:
    """With a shorter time than is shipped, so that nobody waits for this test."""
    traefik = Traefik(tmp_path, [one.port for one in servers], slow_after="2s")
    head = b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
    traefik.start()
    try:
        for begun in (head, head + b"\r\n{"):
            with (
                socket.create_connection(("127.0.0.1", traefik.port), timeout=30) as raw,
                traefik.trusting().wrap_socket(raw, server_hostname="127.0.0.1") as slow,
            ):
                slow.sendall(begun)
                while slow.recv(4096):
                    pass
    finally:
        traefik.stop()


def test_re_09_replacing_the_servers_one_by_one_loses_no_request(
    traefik: Traefik, servers: list[Service], bearer: dict[str, str]
) -> None:
    told = asyncio.run(_replaced_under_load(traefik, servers, bearer))
    sys.stdout.write(f"\nAnswers while the servers were replaced: {dict(told)}\n")
    assert set(told) == {"GET 200", "POST 201"}, traefik.log()
    assert told.total() > 300


async def _replaced_under_load(
    traefik: Traefik, servers: list[Service], bearer: dict[str, str]
) -> Counter[str]:
    told: Counter[str] = Counter()
    over = asyncio.Event()
    verify = traefik.trusting()
    async with httpx2.AsyncClient(base_url=traefik.url, verify=verify, timeout=30) as http:

        async def ask() -> None:
            login = {"login": "ada", "password": PASSWORD}
            for number in cycle(range(10)):
                if over.is_set():
                    break
                try:
                    if number:
                        answer = await http.get("/v1/users/me", headers=bearer)
                    else:
                        answer = await http.post("/v1/sessions", json=login)
                    told[f"{answer.request.method} {answer.status_code}"] += 1
                except httpx2.HTTPError as failed:
                    told[type(failed).__name__] += 1
                await asyncio.sleep(0.03)

        asking = [asyncio.create_task(ask()) for _ in range(6)]
        await asyncio.to_thread(_replace, servers)
        over.set()
        await asyncio.gather(*asking)
    return told


def _replace(servers: list[Service]) -> None:
    for server in servers:
        assert server.stop() == 0
        server.start()
        # Until the next look of the proxy has found it.
        time.sleep(3)
