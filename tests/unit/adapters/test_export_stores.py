import stat
from collections.abc import AsyncIterator
from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore

from gatepost.adapters.cipher import KeyringCipher, MasterKeys
from gatepost.adapters.exports.files import ExportFiles
from gatepost.adapters.exports.objects import ExportObjects, open_bucket
from gatepost.adapters.exports.seals import CHUNK
from gatepost.adapters.memory import MemoryExportStore
from gatepost.application.ports.exports import ExportStore
from gatepost.application.ports.security import SealBroken
from gatepost.domain.errors import Unavailable
from gatepost.domain.exports import ExportId
from gatepost.testing.builders import new_id
from gatepost.testing.contracts.export_storage import ExportStoreContract, content, pieces

KEYS = MasterKeys([bytes(range(32))])
OTHER_KEYS = MasterKeys([bytes(range(1, 33))])
THREE = b"a" * CHUNK + b"b" * CHUNK + b"c"
# length || key id, nonce || export, build, number, is last || bytes || tag
SEALED = 4 + 3 + 12 + 16 + 16 + 8 + 1 + CHUNK + 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "made" / "exports"


@pytest.fixture
def store(folder: Path) -> ExportFiles:
    return ExportFiles(folder, KeyringCipher(KEYS))


@pytest.fixture
def export_id() -> ExportId:
    return ExportId(new_id())


class TestFiles(ExportStoreContract):
    pass


class TestObjects(ExportStoreContract):
    @pytest.fixture
    def store(self) -> ExportStore:
        return ExportObjects(MemoryStore(), KeyringCipher(KEYS))


class TestMemory(ExportStoreContract):
    @pytest.fixture
    def store(self) -> ExportStore:
        return MemoryExportStore()


def held(folder: Path) -> list[tuple[str, int]]:
    return [(file.name, stat.S_IMODE(file.stat().st_mode)) for file in folder.iterdir()]


def the_file(folder: Path, export_id: ExportId) -> Path:
    return folder / f"{export_id}.export"


async def test_files_and_folder_are_the_owners_alone(
    store: ExportFiles, folder: Path, export_id: ExportId
) -> None:
    async def looking() -> AsyncIterator[bytes]:
        ((name, mode),) = held(folder)
        assert (name.endswith(".part"), mode) == (True, 0o600)
        yield b"x"

    await store.write(export_id, looking())
    assert held(folder) == [(the_file(folder, export_id).name, 0o600)]
    assert held(folder.parent) == [(folder.name, 0o700)]


async def test_nothing_of_the_content_stands_in_the_file(
    store: ExportFiles, folder: Path, export_id: ExportId
) -> None:
    await store.write(export_id, pieces(b"ada@example.com " * 9000))
    sealed = the_file(folder, export_id).read_bytes()
    assert b"ada@example" not in sealed
    assert len(sealed) > 9000 * 16


async def test_a_file_of_keys_that_are_gone_is_as_good_as_gone(
    store: ExportFiles, folder: Path, export_id: ExportId
) -> None:
    await store.write(export_id, pieces(b"x"))
    other = ExportFiles(folder, KeyringCipher(OTHER_KEYS))
    assert await other.read(export_id) is None


async def test_the_file_of_another_export_does_not_pass_for_it(
    store: ExportFiles, folder: Path, export_id: ExportId
) -> None:
    other = ExportId(new_id())
    await store.write(other, pieces(b"x"))
    the_file(folder, other).rename(the_file(folder, export_id))
    assert await store.read(export_id) is None


def chunks(sealed: bytes) -> list[bytes]:
    return [sealed[:SEALED], sealed[SEALED : 2 * SEALED], sealed[2 * SEALED :]]


@pytest.mark.parametrize(
    "order", [(0, 2), (0, 1), (0, 2, 1), (0, 0, 1, 2), (0, 1, 2, 2), (0, 1, 1, 2)]
)
async def test_chunks_left_out_doubled_or_moved_are_noticed(
    store: ExportFiles, folder: Path, export_id: ExportId, order: tuple[int, ...]
) -> None:
    await store.write(export_id, pieces(THREE))
    file = the_file(folder, export_id)
    own = chunks(file.read_bytes())
    file.write_bytes(b"".join(own[number] for number in order))
    with pytest.raises(SealBroken):
        await content(store, export_id)


@pytest.mark.parametrize("order", [(1, 2), (2,), (1, 0, 2), ()])
async def test_a_file_without_its_beginning_is_none(
    store: ExportFiles, folder: Path, export_id: ExportId, order: tuple[int, ...]
) -> None:
    await store.write(export_id, pieces(THREE))
    file = the_file(folder, export_id)
    own = chunks(file.read_bytes())
    file.write_bytes(b"".join(own[number] for number in order))
    assert await store.read(export_id) is None


async def test_two_files_of_one_export_do_not_mix(
    store: ExportFiles, folder: Path, export_id: ExportId
) -> None:
    file = the_file(folder, export_id)
    await store.write(export_id, pieces(THREE))
    older = chunks(file.read_bytes())
    await store.write(export_id, pieces(THREE))
    newer = chunks(file.read_bytes())
    file.write_bytes(older[0] + newer[1] + older[2])
    with pytest.raises(SealBroken):
        await content(store, export_id)


@pytest.mark.parametrize("cut", [1, 2, 40, 70])
async def test_a_file_cut_short_is_noticed(
    store: ExportFiles, folder: Path, export_id: ExportId, cut: int
) -> None:
    await store.write(export_id, pieces(THREE))
    file = the_file(folder, export_id)
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(SealBroken):
        await content(store, export_id)


async def test_a_flipped_bit_is_noticed(
    store: ExportFiles, folder: Path, export_id: ExportId
) -> None:
    await store.write(export_id, pieces(THREE))
    file = the_file(folder, export_id)
    sealed = bytearray(file.read_bytes())
    for place in (SEALED, SEALED + 5, SEALED + 900, 2 * SEALED + 3):
        sealed[place] ^= 1
        file.write_bytes(sealed)
        with pytest.raises(SealBroken):
            await content(store, export_id)
        sealed[place] ^= 1


async def test_a_file_removed_while_it_is_read_breaks_off(
    store: ExportFiles, export_id: ExportId
) -> None:
    await store.write(export_id, pieces(THREE))
    reading = await store.read(export_id)
    assert reading is not None
    assert await anext(reading) == b"a" * CHUNK
    await store.remove(export_id)
    with pytest.raises(Unavailable):
        await anext(reading)


async def test_removing_takes_unfinished_writes_along(
    store: ExportFiles, folder: Path, export_id: ExportId
) -> None:
    await store.write(export_id, pieces(b"x"))
    other = ExportId(new_id())
    for name in (export_id, other):
        (folder / f"{name}.00ff.part").touch()
    await store.remove(export_id)
    assert [name for name, _ in held(folder)] == [f"{other}.00ff.part"]


async def test_a_folder_that_cannot_be_used_is_an_outage(
    tmp_path: Path, export_id: ExportId
) -> None:
    (tmp_path / "file").touch()
    store = ExportFiles(tmp_path / "file", KeyringCipher(KEYS))
    with pytest.raises(Unavailable):
        await store.write(export_id, pieces(b"x"))
    with pytest.raises(Unavailable):
        await store.read(export_id)


async def test_an_object_is_sealed_like_a_file_and_told_from_others(export_id: ExportId) -> None:
    bucket, other = MemoryStore(), ExportId(new_id())
    store = ExportObjects(bucket, KeyringCipher(KEYS))
    await store.write(export_id, pieces(b"ada@example.com " * 90_000))
    sealed = bytes(await (await obstore.get_async(bucket, f"{export_id}.export")).bytes_async())
    assert b"ada@example" not in sealed
    await obstore.put_async(bucket, f"{other}.export", sealed)
    assert await store.read(other) is None
    assert await ExportObjects(bucket, KeyringCipher(OTHER_KEYS)).read(export_id) is None
    for altered in (sealed[:-1], sealed + b"x", sealed[:-9] + b"x" + sealed[-8:]):
        await obstore.put_async(bucket, f"{export_id}.export", altered)
        with pytest.raises(SealBroken):
            await content(store, export_id)


async def test_an_object_removed_while_it_is_read_breaks_off(export_id: ExportId) -> None:
    store = ExportObjects(MemoryStore(), KeyringCipher(KEYS))
    await store.write(export_id, pieces(b"x" * 20 * CHUNK))
    reading = await store.read(export_id)
    assert reading is not None
    assert await anext(reading) == b"x" * CHUNK
    await store.remove(export_id)
    with pytest.raises(Unavailable):
        _ = [piece async for piece in reading]


def test_what_a_bucket_does_not_take_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="does not take") as refused:
        open_bucket("s3://exports", {"endpoint": "http://127.0.0.1:9000", "no_such": "secret"})
    assert "secret" not in f"{refused.value!r}"
