"""Exports as sealed files in a folder."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from ...application.ports.exports import ExportStore
from ...application.ports.security import Cipher, SealBroken
from ...domain.errors import Unavailable
from ...domain.exports import ExportId
from .seals import Sealed, unseal

P = ParamSpec("P")
T = TypeVar("T")


class ExportFiles(ExportStore):
    """One file an export. Files and a folder made here belong to the owner alone.

    A file that is there is complete: it is renamed when it is. All replicas must see the same
    folder.
    """

    def __init__(self, folder: Path, cipher: Cipher) -> None:
        self._folder = folder
        self._cipher = cipher

    async def write(self, export_id: ExportId, content: AsyncIterator[bytes]) -> int:
        draft = self._folder / f"{export_id}.{secrets.token_hex(8)}.part"
        sealed = Sealed(self._cipher, export_id, content)
        try:
            await _in_thread(self._make, draft)
            async for chunk in sealed:
                await _in_thread(_append, draft, chunk)
            await _in_thread(self._publish, draft, export_id)
        finally:
            await _in_thread(draft.unlink, missing_ok=True)
        return sealed.size

    async def read(self, export_id: ExportId) -> AsyncIterator[bytes] | None:
        path = self._path(export_id)
        try:
            # Opened again for each chunk: no slow reader holds a file.
            return await unseal(self._cipher, export_id, partial(_part_of, path))
        except SealBroken:
            return None
        except Unavailable as failed:
            if isinstance(failed.__cause__, FileNotFoundError):
                return None
            raise

    async def remove(self, export_id: ExportId) -> None:
        await _in_thread(self._remove, export_id)

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


async def _part_of(path: Path, start: int, most: int) -> bytes:
    return await _in_thread(_read, path, start, most)


def _read(path: Path, start: int, most: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(most)
