"""Requests per CPU-second of a server, beside a bare one: `make bench`, or alone with --help.

wrk asks each in turn, round by round: what else the machine does meets all of them alike, and
CPU time of the server hardly depends on it. A rate per second is a figure of a quiet machine.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen
from uuid import UUID

from benchmarks.plot import bars
from gatepost import __version__
from gatepost.adapters.embedded import start
from gatepost.adapters.postgres.engine import create_engine
from gatepost.adapters.postgres.migrate import upgrade
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.domain.clients import Client, ClientId, ClientSecret
from gatepost.domain.roles import Scope
from tests.service import PASSWORD, free_port

HERE = Path(__file__).parent
OPERATIONS = ("live", "keys", "me", "refresh", "introspect", "log in", "register")
FORM = {"username": "bench", "email": "bench@example.com", "password": PASSWORD}
LOGIN = {"login": FORM["email"], "password": PASSWORD}
CLIENT_ID, CLIENT_SECRET = UUID(int=0x7000_8000_0000_0000_0001), "a secret for benchmarks"
TICKS = os.sysconf("SC_CLK_TCK")
SETTINGS = {
    "GATEPOST_ACCOUNTS__REQUIRE_VERIFIED_EMAIL": "false",
    "GATEPOST_LIMITS__ENABLED": "false",
    # Nearly free: what a sign-in costs beside its hash.
    "GATEPOST_PASSWORD__MEMORY_KIB": "8",
    "GATEPOST_PASSWORD__TIME_COST": "1",
    "GATEPOST_PASSWORD__QUEUE": "500",
    "LOG_LEVEL": "WARNING",
}


@dataclass
class Server:
    """A process under test; `seconds_to_start` is until its first answer."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    seconds_to_start: float = 0.0
    requests: dict[str, dict[str, Any]] = field(default_factory=dict)

    def cpu_seconds(self) -> float:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / TICKS

    def pss_mib(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


@contextlib.contextmanager
def serving(name: str, command: list[str], environment: dict[str, str]) -> Iterator[Server]:
    """Start on the first core; the others are for wrk and PostgreSQL."""
    began = time.monotonic()
    port = free_port()
    process = subprocess.Popen(
        [part.format(port=port) for part in command], env=os.environ | environment, cwd=HERE.parent
    )
    try:
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        while True:
            with contextlib.suppress(OSError):
                urlopen(f"http://127.0.0.1:{port}/livez").read()
                break
            if process.poll() is not None:
                raise SystemExit(f"{name} did not start")
            time.sleep(0.01)
        yield Server(name, port, process, time.monotonic() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def asked(server: Server, path: str, body: object) -> Any:
    request = Request(
        f"http://127.0.0.1:{server.port}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    return json.load(urlopen(request))  # noqa: S310


def prepare(server: Server) -> None:
    """Make an account with a session, and note what wrk is to ask."""
    asked(server, "/v1/register", FORM)
    tokens = asked(server, "/v1/sessions", LOGIN)
    server.requests = {
        "live": {"path": "/livez"},
        "keys": {"path": "/.well-known/jwks.json"},
        "me": {"path": "/v1/users/me", "bearer": tokens["access_token"]},
        "refresh": {"path": "/v1/sessions/refresh"},
        "introspect": {"path": "/oauth2/introspect", "form": introspection(tokens)},
        "log in": {"path": "/v1/sessions", "body": json.dumps(LOGIN)},
        "register": {"path": "/v1/register", "body": json.dumps(FORM)},
    }


def introspection(tokens: Any) -> str:
    """Ask about an access token as the machine client of `make_client`."""
    client = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    return urlencode({"token": tokens["access_token"], **client})


async def make_client(url: str) -> None:
    """Store a machine client that may introspect; its digest is that of a known secret."""
    now = datetime.now(UTC)
    secret = ClientSecret.issue(CLIENT_ID, CLIENT_SECRET, now, None)
    client = Client(
        id=ClientId(CLIENT_ID),
        name="bench",
        scopes=(Scope.TOKENS_INTROSPECT.value,),
        secrets=(secret,),
        created_at=now,
        updated_at=now,
    )
    engine = create_engine(url)
    async with PostgresUnitOfWork(engine)() as tx:
        await tx.clients.add(client)
        await tx.commit()
    await engine.dispose()


def renew(server: Server, connections: int) -> None:
    """Sign in for each connection twice: wrk asks again before it has read the last token."""
    tokens = [asked(server, "/v1/sessions", LOGIN) for _ in range(2 * connections)]
    server.requests["refresh"]["refresh_tokens"] = [each["refresh_token"] for each in tokens]


def measure(server: Server, operation: str, options: argparse.Namespace) -> dict[str, float]:
    """Let wrk ask; raises SystemExit when an answer was no success."""
    given = server.requests.get(operation, {"path": "/livez"})
    environment = os.environ | {
        "BENCH_PATH": given["path"],
        "BENCH_BODY": given.get("body", ""),
        "BENCH_FORM": given.get("form", ""),
        "BENCH_BEARER": given.get("bearer", ""),
        "BENCH_REFRESH": " ".join(given.pop("refresh_tokens", ())),
        # A name that no earlier round has taken.
        "BENCH_UNIQUE": f"r{time.time_ns()}" if operation == "register" else "",
    }
    command = ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s"]
    command += ["-s", str(HERE / "asks.lua"), f"http://127.0.0.1:{server.port}"]
    before = server.cpu_seconds()
    said = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
    cpu = server.cpu_seconds() - before
    told = json.loads(said.rpartition("RESULT ")[2])
    if told["errors"]:
        raise SystemExit(f"{server.name}, {operation}: {told['errors']} answers were no success")
    return {
        "per_cpu_second": told["requests"] / cpu,
        "per_second": told["requests"] / options.seconds,
        "p50_ms": told["p50"] / 1000,
        "p99_ms": told["p99"] / 1000,
    }


def compared(gatepost: Server, bare: Server, options: argparse.Namespace) -> dict[str, Any]:
    """Measure every operation, and beside it in each round what the bare server can."""
    found: dict[str, Any] = {}
    for operation in OPERATIONS:
        rounds = []
        for _ in range(options.rounds):
            if operation == "refresh":
                renew(gatepost, options.connections)
            ours, stick = (measure(one, operation, options) for one in (gatepost, bare))
            ours["of_bare"] = ours["per_cpu_second"] / stick["per_cpu_second"]
            rounds.append(ours)
            print(f"{operation:10} {ours['per_cpu_second']:8.0f}/CPU-s", flush=True)
        found[operation] = {
            name: [min(values), statistics.median(values), max(values)]
            for name in rounds[0]
            for values in [[each[name] for each in rounds]]
        }
    return found


def facts() -> dict[str, Any]:
    """Describe the machine: figures of two are not compared without."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next(
        (line.split(": ")[1] for line in cpuinfo.splitlines() if "model name" in line), ""
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "version": __version__,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--into", type=Path, default=Path(".gatepost/bench"))
    options = parser.parse_args()
    if sys.platform != "linux" or shutil.which("wrk") is None:
        raise SystemExit("Needs Linux and wrk (Debian: apt install wrk).")
    options.into.mkdir(parents=True, exist_ok=True)
    gatepost = [sys.executable, "-m", "gatepost", "serve", "--host", "127.0.0.1"]
    bare = [sys.executable, str(HERE / "bare.py"), "{port}"]
    with (
        tempfile.TemporaryDirectory() as folder,
        start(Path(folder) / "postgres") as database,
    ):
        settings = SETTINGS | {"DATABASE_URL": database.url, "GATEPOST_DATA_DIR": folder}
        asyncio.run(upgrade(database.url))
        asyncio.run(make_client(database.url))
        with (
            serving("gatepost", [*gatepost, "--port", "{port}"], settings) as ours,
            serving("bare", bare, {}) as stick,
        ):
            idle = ours.pss_mib()
            prepare(ours)
            result = {"machine": facts(), "operations": compared(ours, stick, options)}
            result["process"] = {
                "seconds_to_start": ours.seconds_to_start,
                "bare_seconds_to_start": stick.seconds_to_start,
                "pss_mib_idle": idle,
                "pss_mib_after": ours.pss_mib(),
            }
    (options.into / "macro.json").write_text(json.dumps(result, indent=2) + "\n")
    rows = {name: found["per_cpu_second"] for name, found in result["operations"].items()}
    title = "Requests per CPU-second of one server process"
    (options.into / "macro.svg").write_text(bars(title, rows))
    print(json.dumps(result["process"]), f"Written to {options.into}.")


if __name__ == "__main__":
    main()
