"""The sealed form of an export, wherever it is kept: it is written and read chunk by chunk."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

from ...application.ports.security import Cipher, SealBroken, SealPurpose
from ...domain.exports import ExportId

CHUNK = 64 * 1024
_LENGTH_BYTES = 4
_BUILD_BYTES = 16
# More than a seal adds, less than what somebody could make us read by a forged length.
_LONGEST = CHUNK + 1024

# Returns the bytes of a file from a place on, so many at most; none past its end.
Read = Callable[[int, int], Awaitable[bytes]]


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


class Sealed:
    """What is to be written: chunks of length (4) || sealed (head || is last (1) || bytes).

    `size` counts the bytes that went in.
    """

    def __init__(self, cipher: Cipher, export_id: ExportId, content: AsyncIterator[bytes]) -> None:
        self.size = 0
        self._cipher = cipher
        self._content = content
        self._first = _Place(export_id, secrets.token_bytes(_BUILD_BYTES), 0)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        place, buffer = self._first, bytearray()
        async for piece in self._content:
            self.size += len(piece)
            buffer += piece
            while len(buffer) > CHUNK:
                yield self._chunk(place, bytes(buffer[:CHUNK]), last=False)
                del buffer[:CHUNK]
                place = replace(place, number=place.number + 1)
        yield self._chunk(place, bytes(buffer), last=True)

    def _chunk(self, place: _Place, data: bytes, *, last: bool) -> bytes:
        sealed = self._cipher.seal(SealPurpose.EXPORT, place.head() + bytes([last]) + data)
        return len(sealed).to_bytes(_LENGTH_BYTES, "big") + sealed


async def unseal(cipher: Cipher, export_id: ExportId, read: Read) -> AsyncIterator[bytes]:
    """Open the first chunk, and return what reads on; raises what `read` does, and SealBroken."""
    opened, end = await _opened(cipher, read, 0)
    place = _Place(export_id, opened[len(export_id.bytes) :][:_BUILD_BYTES], 0)
    return _content(cipher, read, place, place.check(opened), end)


async def _content(
    cipher: Cipher, read: Read, place: _Place, chunk: tuple[bytes, bool], end: int
) -> AsyncIterator[bytes]:
    data, is_last = chunk
    while not is_last:
        yield data
        opened, end = await _opened(cipher, read, end)
        place = replace(place, number=place.number + 1)
        data, is_last = place.check(opened)
    if await read(end, 1):
        raise SealBroken("Something was appended.")
    yield data


async def _opened(cipher: Cipher, read: Read, start: int) -> tuple[bytes, int]:
    """Open the chunk that begins there, and tell where the next one does."""
    found = await read(start, _LENGTH_BYTES + _LONGEST)
    length = int.from_bytes(found[:_LENGTH_BYTES], "big")
    sealed = found[_LENGTH_BYTES:][:length]
    if not length or len(sealed) != length:
        raise SealBroken("The file ends too early.")
    return cipher.open(SealPurpose.EXPORT, sealed), start + _LENGTH_BYTES + length
