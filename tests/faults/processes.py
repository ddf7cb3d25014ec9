"""What the processes of a service hold and leave behind, as the system and the database see it."""

import email
import sys
from collections import defaultdict
from contextlib import suppress
from email import policy
from pathlib import Path

import pytest

from tests.children import is_gone
from tests.faults.database import Database
from tests.faults.load import until
from tests.service import Service
from tests.sink import Sink

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
# A worker that died leaves jobs that are taken over after its heartbeat, and tried again later.
WORKED_OFF_WITHIN = 90.0


def pids_of(service: Service, command: str) -> list[int]:
    """Find the processes of a service that were started with a command of `gatepost`."""
    found = []
    for pid in service.members():
        with suppress(OSError):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if command.encode() in arguments and not is_gone(pid):
                found.append(pid)
    return found


def counts_of(service: Service) -> tuple[int, int]:
    return len(pids_of(service, "serve")), len(pids_of(service, "worker"))


def memory_of(service: Service) -> int:
    """Return the kilobytes that the server processes hold."""
    total = 0
    for pid in pids_of(service, "serve"):
        status = Path(f"/proc/{pid}/status").read_text()
        total += int(next(x for x in status.splitlines() if x.startswith("VmRSS:")).split()[1])
    return total


def handles_of(service: Service) -> int:
    pids = pids_of(service, "serve")
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


async def worked_off(database: Database) -> None:
    async def is_idle() -> bool:
        return await database.count_jobs("queued", "picked") == 0

    await until(is_idle, WORKED_OFF_WITHIN)


def letters(*services: Service) -> dict[str, set[str]]:
    """Return the message ids of the mails to each address."""
    found = defaultdict(set)
    for service in services:
        for file in (service.folder / "mail").glob("*.eml"):
            mail = email.message_from_bytes(file.read_bytes(), policy=policy.default)
            found[str(mail["To"])].add(str(mail["Message-ID"]))
    return found


def delivered(sink: Sink) -> dict[str, list[str]]:
    """Return the message ids of the mails to each address, of copies too."""
    found = defaultdict(list)
    for received in sink.received:
        mail = email.message_from_bytes(received.data, policy=policy.default)
        found[received.recipient].append(str(mail["Message-ID"]))
    return found
