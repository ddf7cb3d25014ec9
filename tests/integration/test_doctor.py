"""`doctor`, `config check` and `hash calibrate`, as operators call them."""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import asyncpg
import pytest
from dependency_injector import providers
from sqlalchemy.pool import QueuePool
from typer.testing import CliRunner

from gatepost.adapters.postgres.survey import survey
from gatepost.adapters.system import utc_now
from gatepost.domain.errors import Unavailable
from gatepost.entrypoints.cli.hashing import hashing
from gatepost.entrypoints.container import Container
from gatepost.entrypoints.doctor.database import PROCESS_CONNECTIONS
from gatepost.entrypoints.doctor.hashing import Machine
from gatepost.entrypoints.doctor.outside import look_from_outside
from gatepost.entrypoints.doctor.surroundings import look_at_mail
from gatepost.entrypoints.settings import Environment, load
from tests.integration.test_cli import Cli
from tests.service import free_port
from tests.sink import Sink

KEY = "Kx4n0c3gX2m0Jw9bUuT1T0mB1qv7Zc3b9S8o6yH2d5E="
DOWN = "postgresql://u:hunter22@127.0.0.1:9/x"
NAMES = {
    *("settings", "database", "schema", "rights", "connections", "clock", "signing keys"),
    *("worker", "limits", "mail", "exports", "outside", "hash memory", "hashing"),
}


@pytest.fixture
def cli(tmp_path: Path, own_url: str) -> Cli:
    made = Cli(tmp_path, own_url)
    made.environment |= {"PORT": str(free_port()), "GATEPOST_PASSWORD__CONCURRENCY": "1"}
    return made


def findings(cli: Cli, *arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
    done = cli("doctor", "--output", "json", *arguments, **environment)
    told = json.loads(done.stdout)
    assert "hunter22" not in done.stdout + done.stderr
    return done.returncode, {found["check"]: found for found in told["findings"]}


def test_a_fresh_database_is_fine_but_for_its_worker_and_stays_as_it_is(cli: Cli) -> None:
    code, found = findings(cli)
    assert code == 0
    assert found.keys() == NAMES
    status = {check: one["status"] for check, one in found.items()}
    assert status.pop("worker") == "warning"
    assert status.pop("outside") == "skipped"
    assert status.pop("connections") in ("ok", "warning")
    # Other tests use the machine as well.
    assert status.pop("hashing") in ("ok", "warning")
    assert set(status.values()) == {"ok"}
    assert found["hashing"]["numbers"]["sign_ins_a_second"] > 0
    assert "none yet" in found["signing keys"]["says"]
    assert not (cli.folder / "data").exists()


def test_people_read_a_table(cli: Cli) -> None:
    told = cli("doctor")
    assert told.returncode == 0
    lines = [line for line in told.stdout.splitlines() if line.split()[0] != "->"]
    assert len(lines) == len(NAMES)
    assert {line.split()[0] for line in lines} <= {"ok", "warning", "skipped"}


def test_a_database_that_is_down_is_said_and_all_else_is_looked_at(cli: Cli) -> None:
    code, found = findings(cli, DATABASE_URL=DOWN)
    assert code == 1
    assert found["database"]["status"] == "failed"
    assert "refused" in found["database"]["says"]
    assert found["limits"]["status"] == "failed"
    for check in ("schema", "rights", "connections", "clock", "signing keys", "worker"):
        assert found[check]["status"] == "skipped"
    for check in ("mail", "exports", "hash memory"):
        assert found[check]["status"] == "ok"


def test_a_direct_way_that_leads_nowhere_is_said(cli: Cli) -> None:
    code, found = findings(cli, DATABASE_DIRECT_URL=DOWN)
    assert (code, found["direct database"]["status"]) == (1, "failed")
    assert found["database"]["status"] == "ok"
    _, found = findings(cli, DATABASE_DIRECT_URL=cli.environment["DATABASE_URL"])
    assert found["direct database"]["status"] == "ok"


def test_a_schema_that_is_missing_is_said(tmp_path: Path, empty_url: str) -> None:
    cli = Cli(tmp_path, empty_url)
    code, found = findings(cli, PORT=str(free_port()))
    assert (code, found["schema"]["says"]) == (1, "not migrated")
    assert found["worker"]["status"] == "skipped"


def test_keys_that_do_not_open_are_said_and_none_is_made(cli: Cli) -> None:
    assert cli("users", "list").returncode == 0
    assert findings(cli)[1]["signing keys"]["says"].startswith("1, all open")
    keys = cli.folder / "data" / "master-keys"
    keys.unlink()
    code, found = findings(cli)
    assert (code, found["signing keys"]["status"]) == (1, "failed")
    assert not keys.exists()
    assert findings(cli, GATEPOST_SECRETS__KEYS=KEY)[1]["signing keys"]["status"] == "failed"


def test_more_replicas_than_the_server_has_connections_for_are_refused(cli: Cli) -> None:
    code, found = findings(cli, "--replicas", "1000")
    assert (code, found["connections"]["status"]) == (1, "failed")
    assert cli("doctor", "--replicas", "0").returncode == 2


def test_a_store_of_limits_that_is_down_is_a_warning(cli: Cli) -> None:
    code, found = findings(cli, REDIS_URL=f"redis://:hunter22@127.0.0.1:{free_port()}")
    assert (code, found["limits"]["status"]) == (0, "warning")


async def test_due_jobs_that_nobody_takes_are_said(cli: Cli) -> None:
    connection = await asyncpg.connect(cli.environment["DATABASE_URL"])
    await connection.execute(
        "INSERT INTO pgqueuer (priority, entrypoint, execute_after, status)"
        " VALUES (0, 'mail.send.v1', now() - interval '10 minutes', 'queued')"
    )
    facts = await survey(cli.environment["DATABASE_URL"], utc_now)
    assert facts.purge_overdue is None
    await connection.execute(
        "INSERT INTO pgqueuer_schedules (expression, entrypoint, next_run)"
        " VALUES ('17 * * * *', 'accounts.purge.v1', now() - interval '1 hour')"
    )
    facts = await survey(cli.environment["DATABASE_URL"], utc_now)
    assert facts.purge_overdue is not None
    assert 3600 <= facts.purge_overdue < 3700
    await connection.close()


async def test_a_server_tells_what_a_role_may_not_do(own_url: str) -> None:
    admin = await asyncpg.connect(own_url)
    name = f"doctor_{os.getpid()}"
    try:
        await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'hunter22' CONNECTION LIMIT 5")
        await admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
        await admin.execute(f"GRANT ALL ON accounts TO {name}")
        await admin.execute(f"SET ROLE {name}")
        database = await admin.fetchval("SELECT current_database()")
        await admin.execute("RESET ROLE")
        facts = await survey(as_role(own_url, name), utc_now)
        assert "sessions" in facts.missing_rights
        assert "accounts" not in facts.missing_rights
        assert (facts.superuser, facts.connections, facts.read_only) == (False, 5, False)
        await admin.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        assert (await survey(as_role(own_url, name), utc_now)).read_only
        await admin.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
        await admin.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {name}")
        assert (await survey(as_role(own_url, name), utc_now)).revision is None
    finally:
        await admin.execute(f"DROP OWNED BY {name}")
        await admin.execute(f"DROP ROLE {name}")
        await admin.close()


def as_role(url: str, name: str) -> str:
    before, _, after = url.partition("://")
    return f"{before}://{name}:hunter22@{after.rpartition('@')[2]}"


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await survey(DOWN, utc_now)


def test_the_connections_of_a_process_are_those_of_its_pools(tmp_path: Path) -> None:
    settings = load(database_url=DOWN, data_dir=tmp_path)
    container = Container(settings=providers.Object(settings))
    pool = container.engine().sync_engine.pool
    assert isinstance(pool, QueuePool)
    reads: list[Any] = [container.callers(), container.postgres_limiter()]
    reads += [container.rotations(), container.database(), container.backlog()]
    assert pool.size() + sum(read._pool._size for read in reads) == PROCESS_CONNECTIONS


@contextmanager
def answering(paths: Mapping[str, tuple[int, str]], headers: Mapping[str, str]) -> Iterator[int]:
    """Answer as something at the public URL might."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = paths.get(self.path, (404, ""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            return None

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


async def test_what_answers_at_the_public_url_is_looked_at() -> None:
    metadata = "/.well-known/oauth-authorization-server"
    paths = {metadata: (200, "{}"), "/metrics": (200, "# TYPE x counter")}

    async def told(port: int) -> str:
        production = load(port=port).model_copy(update={"environment": Environment.PRODUCTION})
        return " ".join(found.says for found in await look_from_outside(production))

    with answering(paths, {"Access-Control-Allow-Origin": "*"}) as port:
        said = await told(port)
        for part in ("not this service", "every origin", "/metrics"):
            assert part in said
        paths[metadata] = (200, json.dumps({"issuer": f"http://127.0.0.1:{port}"}))
        assert "not this service" not in await told(port)
    for answer in ((502, "<html>"), (200, "<html>"), (200, "[]")):
        with answering({metadata: answer}, {}) as port:
            assert "not this service" in await told(port)
    assert "does not answer" in await told(port)


async def test_a_server_that_answers_a_byte_at_a_time_holds_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gatepost.entrypoints.doctor.outside._SECONDS", 0.3)
    callers: list[asyncio.StreamWriter] = []

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer)
        writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        with suppress(OSError, asyncio.CancelledError):
            for _byte in range(100):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.1)
        writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        settings = load(port=server.sockets[0].getsockname()[1])
        async with asyncio.timeout(5):
            (found,) = await look_from_outside(settings)
    assert callers
    assert "does not answer" in found.says


async def test_looking_at_the_mail_server_takes_its_leave() -> None:
    heard: list[str] = []
    over = asyncio.Event()

    def hear(command: str, _: str) -> None:
        heard.append(command)
        if command == "QUIT":
            over.set()

    async with Sink(hear).listening() as sink:
        (found,) = await look_at_mail(load(mail={"url": sink.url()}))
        assert found.says == "could be delivered now"
        async with asyncio.timeout(5):
            await over.wait()
    assert "MAIL" not in heard


def test_a_laptop_without_a_database_gets_none_from_being_looked_at(cli: Cli) -> None:
    del cli.environment["DATABASE_URL"]
    code, found = findings(cli)
    assert (code, found["database"]["status"]) == (0, "skipped")
    assert not (cli.folder / "data").exists()


def test_config_check_tells_dangers_with_reasons_and_doctor_fails_for_them(cli: Cli) -> None:
    keys = cli.folder / "keys"
    keys.write_text(KEY)
    production = {
        "GATEPOST_ENVIRONMENT": "production",
        "GATEPOST_PUBLIC_URL": "https://127.0.0.1:9",
        "GATEPOST_SECRETS__KEYS_FILE": str(keys),
        "GATEPOST_PASSWORD__MEMORY_KIB": "19456",
        "GATEPOST_LIMITS__ENABLED": "false",
    }
    checked = cli("config", "check", **production)
    assert checked.returncode == 0
    assert checked.stdout.startswith(
        "ok  production\ndanger: limits_off: GATEPOST_LIMITS__ENABLED"
    )
    told = json.loads(cli("config", "check", "--output", "json", **production).stdout)
    by_code = {danger["code"]: danger for danger in told["dangers"]}
    assert {"limits_off", "no_trusted_proxy", "secret_file_open"} <= by_code.keys()
    assert by_code["limits_off"]["severity"] == "danger"
    refused = cli("doctor", **production)
    assert refused.returncode == 1
    assert "failed   settings" in refused.stdout
    assert cli.json("config", "check")["dangers"] == []


def test_calibrating_prints_settings_that_production_takes(cli: Cli) -> None:
    arguments = ("hash", "calibrate", "--at-once", "1", "--memory-mib", "32")
    printed = cli(*arguments, "--target-ms", "1")
    assert printed.returncode == 0
    assert printed.stdout.splitlines()[:3] == [
        "GATEPOST_PASSWORD__MEMORY_KIB=19456",
        "GATEPOST_PASSWORD__TIME_COST=2",
        "GATEPOST_PASSWORD__PARALLELISM=1",
    ]
    assert "cheaper is not safe" in printed.stdout
    told = json.loads(cli(*arguments, "--target-ms", "60", "--output", "json").stdout)
    assert told["settings"]["GATEPOST_PASSWORD__MEMORY_KIB"] >= 19456
    assert told["sign_ins_a_second"] > 0
    assert cli("hash", "calibrate", "--target-ms", "0").returncode == 2


def test_calibrating_does_not_take_the_memory_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = Machine(cores=2, memory=200 * 1024**2)
    monkeypatch.setattr(Machine, "read", classmethod(lambda cls: small))
    refused = CliRunner().invoke(hashing, ["--at-once", "6"])
    assert refused.exit_code == 2
    assert "half of the memory" in refused.output
