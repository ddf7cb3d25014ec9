"""Exports in a bucket behind the S3 protocol, over HTTP (`make test-objects`)."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from obstore.store import S3Store

from gatepost.adapters.cipher import KeyringCipher, MasterKeys
from gatepost.adapters.exports.objects import ExportObjects, open_bucket
from gatepost.domain.errors import Unavailable
from gatepost.domain.exports import ExportId
from gatepost.testing.builders import (
    new_id,
)
from gatepost.testing.contracts.export_storage import ExportStoreContract, broken, pieces
from tests.children import becomes_true
from tests.service import MAILS_WITHIN, PASSWORD, free_port, running, signed_in

SERVER = Path(sys.prefix) / "objects" / "bin" / "moto_server"
CIPHER = KeyringCipher(MasterKeys([bytes(range(32))]))
SECRET = "a-secret-that-is-never-shown"
KEYS = {"access_key_id": "AKIAEXPORTS", "secret_access_key": SECRET, "region": "eu-central-1"}
PATH = "/v1/users/me/exports"
MIB = 1024 * 1024


class Buckets:
    """An S3 server on loopback with one bucket; what is in it goes with the process."""

    def __init__(self) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [SERVER, "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert becomes_true(self._has_bucket, 60)

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def freeze(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def listed(self, what: str = "list-type=2") -> str:
        """What the server lists, as XML."""
        return httpx2.get(f"{self.endpoint}/exports?{what}", timeout=30).text

    def _has_bucket(self) -> bool:
        try:
            return httpx2.put(f"{self.endpoint}/exports").status_code == 200
        except httpx2.HTTPError:
            return False


@pytest.fixture(scope="module")
def buckets() -> Iterator[Buckets]:
    assert SERVER.exists(), "moto is missing: run `make test-objects`"
    started = Buckets()
    started.start()
    yield started
    started.stop()


@pytest.fixture
def store(buckets: Buckets) -> ExportObjects:
    return store_at(buckets.endpoint)


def store_at(endpoint: str, bucket: str = "exports") -> ExportObjects:
    return ExportObjects(open_bucket(f"s3://{bucket}/one", KEYS | {"endpoint": endpoint}), CIPHER)


class TestS3(ExportStoreContract):
    pass


async def some(mib: int) -> AsyncIterator[bytes]:
    for number in range(16 * mib):
        yield bytes([number % 256]) * (MIB // 16)


def most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def test_memory_stays_the_same_however_large_the_export(store: ExportObjects) -> None:
    export_id = ExportId(new_id())
    await store.write(export_id, some(16))
    before = most_memory()
    assert await store.write(export_id, some(128)) == 128 * MIB
    reading, size = await store.read(export_id), 0
    assert reading is not None
    async for piece in reading:
        size += len(piece)
    assert size == 128 * MIB
    assert most_memory() - before < 32 * MIB
    await store.remove(export_id)


async def test_nothing_is_there_before_the_end_and_a_failure_leaves_no_parts(
    buckets: Buckets, store: ExportObjects
) -> None:
    export_id = ExportId(new_id())

    async def looking() -> AsyncIterator[bytes]:
        yield b"x" * 12 * MIB
        assert await store.read(export_id) is None
        assert str(export_id) not in await asyncio.to_thread(buckets.listed)
        yield b"x"

    await store.write(export_id, looking())
    assert str(export_id) in buckets.listed()
    other = ExportId(new_id())
    with pytest.raises(RuntimeError):
        await store.write(other, broken(b"x" * 12 * MIB))
    assert str(other) not in buckets.listed() + buckets.listed("uploads")


async def test_a_store_that_is_down_hangs_or_refuses_is_unavailable_and_tells_no_secret(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    nowhere, missing = f"http://127.0.0.1:{free_port()}", ExportId(new_id())
    own = Buckets()
    own.start()
    try:
        for store in (store_at(nowhere), store_at(own.endpoint, "no-such-bucket")):
            with pytest.raises(Unavailable) as refused:
                await store.write(missing, pieces(b"x"))
            assert refused.value.__cause__ is None
            with pytest.raises(Unavailable):
                await store.remove(missing)
        with pytest.raises(Unavailable):
            await store_at(nowhere).read(missing)
        own.freeze(signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await store_at(own.endpoint).read(missing)
        own.freeze(signal.SIGCONT)
    finally:
        own.stop()
    said = "".join((*capfd.readouterr(), caplog.text))
    assert "object store failed" in said
    assert SECRET not in said
    assert SECRET not in repr(open_bucket("s3://exports", KEYS))


def test_an_export_waits_for_the_store_and_goes_with_its_account(tmp_path: Path) -> None:
    """Asked for while the store is down, fetched over HTTP, removed by the deletion."""
    buckets = Buckets()
    secret = tmp_path / "key"
    secret.write_text(SECRET)
    settings = {
        "GATEPOST_EXPORTS__URL": "s3://exports/some/where",
        "GATEPOST_EXPORTS__ENDPOINT": buckets.endpoint,
        "GATEPOST_EXPORTS__REGION": "eu-central-1",
        "GATEPOST_EXPORTS__ACCESS_KEY_ID": "AKIAEXPORTS",
        "GATEPOST_EXPORTS__SECRET_ACCESS_KEY_FILE": str(secret),
    }
    with (
        running(tmp_path / "one", **settings) as service,
        httpx2.Client(base_url=service.url, timeout=30) as client,
    ):
        tokens = signed_in(client, service, "ada")
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        path = f"{PATH}/{client.post(PATH, json={'password': PASSWORD}).json()['id']}"
        assert becomes_true(lambda: "job failed" in service.log(), MAILS_WITHIN)
        assert client.get(path).json()["status"] == "running"
        buckets.start()
        try:
            found = ready(client, path)
            assert found["progress"] == 100
            document = client.get(found["download_url"]).json()
            assert document["account"]["email"] == "ada@example.com"
            assert "some/where/" in buckets.listed()
            assert not (service.folder / "exports").exists()
            buckets.freeze(signal.SIGSTOP)
            assert client.get(found["download_url"]).status_code == 503
            buckets.freeze(signal.SIGCONT)
            gone = client.post("/v1/users/me/deletion", json={"password": PASSWORD})
            assert gone.status_code == 204
            assert becomes_true(lambda: ".export" not in buckets.listed(), MAILS_WITHIN)
        finally:
            buckets.stop()
        assert SECRET not in service.log()


def ready(client: httpx2.Client, path: str) -> dict[str, Any]:
    deadline = time.monotonic() + 2 * MAILS_WITHIN
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(path).json()
        if found["status"] == "ready":
            return found
        time.sleep(0.1)
    raise AssertionError("the export is not ready")


def test_the_doctor_tells_a_bucket_that_works_from_one_that_is_missing(
    buckets: Buckets, tmp_path: Path
) -> None:
    def exports(bucket: str) -> str:
        environment = {
            "GATEPOST_DATA_DIR": str(tmp_path),
            "GATEPOST_EXPORTS__URL": f"s3://{bucket}",
            "GATEPOST_EXPORTS__ENDPOINT": buckets.endpoint,
            "GATEPOST_EXPORTS__REGION": "eu-central-1",
            "GATEPOST_EXPORTS__ACCESS_KEY_ID": "AKIAEXPORTS",
            "GATEPOST_EXPORTS__SECRET_ACCESS_KEY": SECRET,
        }
        said = subprocess.run(
            [sys.executable, "-m", "gatepost", "doctor"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert SECRET not in said.stdout + said.stderr
        return next(line for line in said.stdout.splitlines() if "exports" in line)

    assert "takes them" in exports("exports")
    assert "refuses, or does not answer" in exports("no-such-bucket")


def test_the_kind_of_store_follows_the_url() -> None:
    assert isinstance(open_bucket("s3://exports", KEYS), S3Store)
