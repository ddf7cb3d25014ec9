"""A backup that was taken while people came in, brought back as docs/operations/backup.md says."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from gatepost.adapters.embedded.binaries import find_binaries
from gatepost.adapters.embedded.owners import owner_of
from tests.faults.conftest import Start, Table
from tests.faults.database import Database
from tests.faults.load import Crowd, Person, Tally, Wire, until
from tests.faults.processes import letters
from tests.service import free_port


def named(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


async def program(name: str, *arguments: str) -> None:
    path = find_binaries(owner_of(Path.cwd())).program(name)
    done = await asyncio.to_thread(
        subprocess.run, [path, *arguments], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


async def usernames(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT username FROM accounts")
    await connection.close()
    return {row["username"] for row in rows}


async def gatepost(
    url: str, folder: Path, key: str, *arguments: str
) -> "subprocess.CompletedProcess[str]":
    environment = {
        "DATABASE_URL": url,
        "GATEPOST_DATA_DIR": str(folder),
        "GATEPOST_SECRETS__KEYS": key,
    }
    command = [sys.executable, "-m", "gatepost", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, env=environment, check=False, capture_output=True, text=True
    )


async def sessions_ended(url: str, folder: Path, key: str) -> int:
    done = await gatepost(url, folder, key, "sessions", "revoke", "--all", "--output", "json")
    assert done.returncode == 0, done.stderr
    ended: int = json.loads(done.stdout)["ended"]
    return ended


async def test_a_backup_from_the_midst_of_work_is_restored_as_one_moment(
    serving: Start, database: Database, table: Table, tmp_path: Path
) -> None:
    for name in ("kept", "restored"):
        await database.rows(f"CREATE DATABASE {name}")
    before, after = (named(database.direct_url, name) for name in ("kept", "restored"))
    archive = str(tmp_path / "gatepost.dump")
    settings = {"GATEPOST_PUBLIC_URL": "http://gatepost.example.com"}
    async with serving("before", DATABASE_URL=before, **settings) as service:
        crowd = Crowd(service.port, "kept")
        quiet, busy = (Person(service.port, name, Tally()) for name in ("quiet", "busy"))
        await quiet.arrive()
        await busy.arrive()
        async with crowd.working() as tally:
            await asyncio.sleep(2)
            promised = [quiet.name, busy.name, *crowd.promised]
            await program("pg_dump", "--format=custom", f"--file={archive}", before)
        assert await busy.refresh()
        spare = Person.form("spare")
        made = await busy.wire.ask("POST", "/v1/register", spare)
        assert made.status == 201
        for person in (quiet, busy):
            person.wire.close()
    mailed_before = letters(service)
    await program("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={after}", archive)
    assert await sessions_ended(after, tmp_path, database.master_key) >= 2 + len(crowd.people)

    there = await usernames(after)
    lost = len(set(promised) - there)
    assert there <= {quiet.name, busy.name, *crowd.promised}, "nothing from after the backup"
    async with serving("after", DATABASE_URL=after, **settings) as service:
        for person in (quiet, busy):
            person.wire = Wire(service.port)
        for person in (quiet, busy):
            assert not await person.read()
            assert not await person.refresh(), "a token that was spent since would be good again"
            assert await person.sign_in()
            assert await person.refresh()
        assert (await busy.wire.ask("POST", "/v1/register", spare)).status == 201

        async def all_are_mailed() -> bool:
            mailed = letters(service) | mailed_before
            return all(f"{name}@example.com" in mailed for name in there)

        await until(all_are_mailed, 60)
        for person in (quiet, busy):
            person.wire.close()
    table.add("restored from a backup under load", tally, lost=lost, also=f"{len(there)} accounts")
    assert lost == 0
    assert tally.wrong.total() == tally.refused == 0
    another = Database(tmp_path).master_key
    refused = await gatepost(after, tmp_path, another, "serve", "--port", str(free_port()))
    assert refused.returncode == 1
    assert "GATEPOST_SECRETS__KEYS" in refused.stderr
