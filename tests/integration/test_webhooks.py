"""Webhooks from outside: real receivers, a real worker, and what goes wrong between them."""

import asyncio
import json
import os
import signal
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gatepost.adapters.webhooks import HttpWebhooks
from gatepost.application.ports.webhooks import Message
from gatepost.domain.networks import Destinations
from gatepost.domain.webhooks import Fault, secret_from
from tests.builders import new_id
from tests.children import becomes_true
from tests.integration.test_cli import Cli
from tests.service import Service, register

A_SECRET = secret_from("A" * 43)
OTHER_SECRET = secret_from("B" * 43)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")


class Receiver:
    """Takes posts on a port of its own; `answers` are the next statuses, then 204."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.blocked = threading.Event()
        self.blocked.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((dict(self.headers.items()), body))
                receiver.blocked.wait(2)
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?key=word"

    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.received]

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.received]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.blocked.set()
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def command(service: Service, *arguments: str) -> Any:
    cli = Cli(service.folder.parent)
    assert cli.environment["GATEPOST_DATA_DIR"] == str(service.folder)
    return cli.json("webhooks", *arguments)


def happen(service: Service, name: str) -> None:
    with httpx2.Client(base_url=service.url, timeout=20) as client:
        assert register(client, name).status_code == 202


def delivered(service: Service, endpoint: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = command(service, "deliveries", endpoint)
    return found


def test_what_arrives_is_signed_with_both_secrets(service: Service, receiver: Receiver) -> None:
    made = command(service, "create", "--url", receiver.url)
    rotated = command(service, "rotate", made["id"])
    happen(service, "told-ada")
    assert becomes_true(lambda: len(receiver.received) == 1, 20)
    command(service, "delete", made["id"])
    [(headers, body)] = receiver.received
    assert headers["Content-Type"] == "application/json"
    for secret in (made["secret"], rotated["secret"]):
        told = Webhook(secret).verify(body, headers)
        assert set(told) == {"type", "timestamp", "data"}
        assert told["type"] == "account.registered.v1"
    for altered, secret in ((body + b" ", made["secret"]), (body, A_SECRET)):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(altered, headers)
    assert "key=word" not in service.log()
    assert made["secret"] not in service.log()


def test_a_receiver_that_fails_and_then_works_gets_it_in_the_end(
    service: Service, receiver: Receiver
) -> None:
    made = command(service, "create", "--url", receiver.url, "--event", "account.registered.v1")
    receiver.answers = [500, 302]
    happen(service, "told-bob")
    assert becomes_true(lambda: len(receiver.received) == 3, 30)
    assert becomes_true(lambda: delivered(service, made["id"])[0]["status"] == "delivered", 20)
    [logged] = delivered(service, made["id"])
    command(service, "delete", made["id"])
    assert (logged["attempts"], logged["answered"], logged["fault"]) == (3, 204, None)
    assert set(receiver.ids()) == {logged["event_id"]}
    assert len({body for _, body in receiver.received}) == 1


def test_what_happens_while_it_is_disabled_arrives_when_it_is_enabled(
    service: Service, receiver: Receiver
) -> None:
    made = command(service, "create", "--url", receiver.url)
    assert command(service, "disable", made["id"])["status"] == "disabled"
    happen(service, "told-cleo")
    held = ["deliveries", made["id"], "--status", "held"]
    assert becomes_true(lambda: len(command(service, *held)) == 1, 20)
    assert not receiver.received
    command(service, "enable", made["id"])
    assert becomes_true(lambda: receiver.types() == ["account.registered.v1"], 20)
    [logged] = delivered(service, made["id"])
    command(service, "retry", logged["id"])
    assert becomes_true(lambda: receiver.ids() == [logged["event_id"]] * 2, 20)
    command(service, "delete", made["id"])


def a_worker(service: Service) -> int:
    def is_one(pid: int) -> bool:
        return b"\0worker\0" in (Path("/proc") / str(pid) / "cmdline").read_bytes()

    [found] = [pid for pid in service.members() if is_one(pid)]
    return found


@on_linux
def test_a_worker_that_is_killed_while_it_sends_leaves_it_to_the_next(
    service: Service, receiver: Receiver
) -> None:
    made = command(service, "create", "--url", receiver.url)
    receiver.blocked.clear()
    happen(service, "told-dora")
    assert becomes_true(lambda: len(receiver.received) == 1, 20)
    os.kill(a_worker(service), signal.SIGKILL)
    receiver.blocked.set()
    # Another takes over what it had begun once its sign of life is ten seconds old.
    assert becomes_true(lambda: len(receiver.received) == 2, 40)
    assert len(set(receiver.ids())) == 1
    assert becomes_true(lambda: delivered(service, made["id"])[0]["status"] == "delivered", 20)
    command(service, "delete", made["id"])


# --- The sender by itself ------------------------------------------------------

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOCAL = Destinations(loopback=True)


def a_message(url: str) -> Message:
    secrets = (A_SECRET, OTHER_SECRET)
    return Message(id=new_id(), url=url, body="{}", secrets=secrets, sent_at=datetime.now(UTC))


@asynccontextmanager
async def listening(talk: Talk, **options: Any) -> AsyncIterator[int]:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n{}")
            await talk(reader, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver) -> None:
    async def redirect(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 307 Elsewhere\r\nLocation: %s\r\n\r\n" % receiver.url.encode())

    async with listening(redirect) as port:
        outcome = await HttpWebhooks(LOCAL).send(a_message(f"http://127.0.0.1:{port}/"))
    assert (outcome.status, outcome.fault, outcome.is_success) == (307, None, False)
    assert not receiver.received


async def test_an_answer_without_end_costs_nothing_and_one_without_begin_is_cut_off() -> None:
    written = 0

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while written < 100_000_000:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with listening(endless) as port:
        outcome = await HttpWebhooks(LOCAL).send(a_message(f"http://127.0.0.1:{port}/"))
    assert outcome.status == 200
    assert written < 20_000_000
    async with listening(drip) as port:
        sender = HttpWebhooks(LOCAL, seconds=0.5)
        outcome = await sender.send(a_message(f"http://127.0.0.1:{port}/"))
    assert (outcome.status, outcome.fault) == (None, Fault.TIMED_OUT)
    assert outcome.duration_ms >= 400


async def test_headers_without_end_and_noise_are_no_answer() -> None:
    async def headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(20_000):
            writer.write(b"x-%d: %s\r\n" % (number, b"y" * 100))
            await writer.drain()

    async def noise(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xff what?\r\n\r\n")

    for talk in (headers, noise):
        async with listening(talk) as port:
            outcome = await HttpWebhooks(LOCAL).send(a_message(f"http://127.0.0.1:{port}/"))
        assert (outcome.status, outcome.fault) == (None, Fault.UNREACHABLE)
    outcome = await HttpWebhooks(LOCAL).send(a_message(f"http://127.0.0.1:{port}/"))
    assert outcome.fault is Fault.UNREACHABLE


async def test_proxies_of_the_environment_are_not_asked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await HttpWebhooks(LOCAL).send(a_message(receiver.url))).status == 204


def certified(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for a name, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "certificate.pem", folder / "key.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return public, private


async def test_it_connects_to_the_checked_address_under_the_name_of_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    looked_up: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        # A second look would lead elsewhere.
        looked_up.append(host)
        return ["127.0.0.1"] if len(looked_up) == 1 else ["192.0.2.1"]

    def named(_: ssl.SSLSocket, name: str, __: ssl.SSLContext) -> None:
        heard.append(name.encode())

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    public, private = certified(tmp_path, "hooks.example.com")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(public, private)
    context.sni_callback = named  # type: ignore[assignment]
    own = Destinations(networks=(ip_network("127.0.0.0/8"),))
    async with listening(answer, ssl=context) as port:
        url = f"https://hooks.example.com:{port}/"
        stranger = HttpWebhooks(own, resolve=resolve)
        assert (await stranger.send(a_message(url))).fault is Fault.UNREACHABLE
        looked_up.clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(public))
        trusting = HttpWebhooks(own, resolve=resolve)
        assert (await trusting.send(a_message(url))).status == 204
        looked_up.clear()
        other = await trusting.send(a_message(url.replace("hooks.", "other.")))
        assert other.fault is Fault.UNREACHABLE
    assert heard == [b"hooks.example.com", b"hooks.example.com", b"other.example.com"]


async def test_the_next_address_is_tried_where_one_takes_no_connection(receiver: Receiver) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    sender = HttpWebhooks(LOCAL, resolve=resolve)
    url = receiver.url.replace("127.0.0.1", "localhost")
    assert (await sender.send(a_message(url))).status == 204
    [(headers, body)] = receiver.received
    assert headers["Host"].startswith("localhost:")
    for secret in (A_SECRET, OTHER_SECRET):
        assert Webhook(secret).verify(body, headers) == {}


async def test_odd_paths_arrive_or_are_faults_and_never_raise(receiver: Receiver) -> None:
    sender, base = HttpWebhooks(LOCAL), receiver.url.partition("/hook")[0]
    for path in ("/%", "/%zz", '/"<>`{}|^[]', "/../..//x", "/?a=[&b=%00", "/:80", "/@x", "?" * 99):
        outcome = await sender.send(a_message(base + path))
        assert outcome.status == 204 or outcome.fault is Fault.UNREACHABLE, path


async def test_names_are_really_looked_up() -> None:
    await HttpWebhooks(LOCAL).check("http://localhost:1/")
