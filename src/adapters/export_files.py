"""Exports as sealed files in a folder."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from ..application.ports.exports import ExportStore
from ..application.ports.security import Cipher, SealBroken, SealPurpose
from ..domain.errors import Unavailable
from ..domain.exports import ExportId

P = ParamSpec("P")
T = TypeVar("T")

CHUNK = 64 * 1024
_LENGTH_BYTES = 4
_BUILD_BYTES = 16
# More than a seal adds, less than what somebody could make us read by a forged length.
_LONGEST = CHUNK + 1024


@dataclass(frozen=True, slots=True)
class _Place:
    """Which chunk of which file: sealed with it, so that none can be moved, doubled or left out.

    `build` tells apart two files of one export.
    """

    export_id: ExportId
    build: bytes
    number: int

    def head(self) -> bytes:
        return self.export_id.bytes + self.build + self.number.to_bytes(8, "big")

    def check(self, opened: bytes) -> tuple[bytes, bool]:
        """Return what an opened chunk holds, and whether it is the last."""
        head = self.head()
        if not opened.startswith(head):
            raise SealBroken("A chunk of another place.")
        return opened[len(head) + 1 :], opened[len(head) :][:1] == b"\x01"


class ExportFiles(ExportStore):
    """One file an export, in chunks of length (4) || sealed (head || is last (1) || bytes).

    Files and a folder made here belong to the owner alone. A file that is there is complete:
    it is renamed when it is. All replicas must see the same folder.
    """

    def __init__(self, folder: Path, cipher: Cipher) -> None:
        self._folder = folder
        self._cipher = cipher

    async def write(self, export_id: ExportId, content: AsyncIterator[bytes]) -> int:
        draft = self._folder / f"{export_id}.{secrets.token_hex(8)}.part"
        try:
            await _in_thread(self._make, draft)
            size = await self._fill(draft, export_id, content)
            await _in_thread(self._publish, draft, export_id)
        finally:
            await _in_thread(draft.unlink, missing_ok=True)
        return size

    async def read(self, export_id: ExportId) -> AsyncIterator[bytes] | None:
        try:
            sealed, end = await asyncio.to_thread(_chunk_at, self._path(export_id), 0)
            opened = self._cipher.open(SealPurpose.EXPORT, sealed)
            place = _Place(export_id, opened[len(export_id.bytes) :][:_BUILD_BYTES], 0)
            first = place.check(opened)
        except (FileNotFoundError, SealBroken):
            return None
        except OSError as error:
            raise Unavailable from error
        return self._chunks(place, first, end)

    async def remove(self, export_id: ExportId) -> None:
        await _in_thread(self._remove, export_id)

    async def _fill(self, draft: Path, export_id: ExportId, content: AsyncIterator[bytes]) -> int:
        size, number, buffer = 0, 0, bytearray()
        build = secrets.token_bytes(_BUILD_BYTES)
        async for piece in content:
            size += len(piece)
            buffer += piece
            while len(buffer) > CHUNK:
                place = _Place(export_id, build, number)
                await self._append(draft, place, bytes(buffer[:CHUNK]), last=False)
                del buffer[:CHUNK]
                number += 1
        await self._append(draft, _Place(export_id, build, number), bytes(buffer), last=True)
        return size

    async def _append(self, draft: Path, place: _Place, data: bytes, *, last: bool) -> None:
        sealed = self._cipher.seal(SealPurpose.EXPORT, place.head() + bytes([last]) + data)
        await _in_thread(_append, draft, len(sealed).to_bytes(_LENGTH_BYTES, "big") + sealed)

    async def _chunks(
        self, place: _Place, chunk: tuple[bytes, bool], end: int
    ) -> AsyncIterator[bytes]:
        path, (data, is_last) = self._path(place.export_id), chunk
        while not is_last:
            yield data
            # Opened again for each chunk: no slow reader holds a file.
            sealed, end = await _in_thread(_chunk_at, path, end)
            place = replace(place, number=place.number + 1)
            data, is_last = place.check(self._cipher.open(SealPurpose.EXPORT, sealed))
        if await _in_thread(_size, path) != end:
            raise SealBroken("Something was appended.")
        yield data

    def _path(self, export_id: ExportId) -> Path:
        return self._folder / f"{export_id}.export"

    def _make(self, draft: Path) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    def _publish(self, draft: Path, export_id: ExportId) -> None:
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(self._path(export_id))

    def _remove(self, export_id: ExportId) -> None:
        self._path(export_id).unlink(missing_ok=True)
        for draft in self._folder.glob(f"{export_id}.*.part"):
            draft.unlink(missing_ok=True)


async def _in_thread(call: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
    try:
        return await asyncio.to_thread(call, *args, **more)
    except OSError as error:
        raise Unavailable from error


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def _chunk_at(path: Path, start: int) -> tuple[bytes, int]:
    """Read the sealed chunk that begins there, and tell where the next one does."""
    with path.open("rb") as file:
        file.seek(start)
        length = int.from_bytes(file.read(_LENGTH_BYTES), "big")
        sealed = file.read(min(length, _LONGEST))
    if not length or len(sealed) != length:
        raise SealBroken("The file ends too early.")
    return sealed, start + _LENGTH_BYTES + length


def _size(path: Path) -> int:
    return path.stat().st_size
