"""Exports as sealed objects in a bucket: S3 and what speaks its protocol, Google's, Azure's."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import structlog
from obstore import delete_async, get_async, get_range_async, put_async
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from ...application.ports.exports import ExportStore
from ...application.ports.security import Cipher, SealBroken
from ...domain.errors import Unavailable
from ...domain.exports import ExportId
from .seals import CHUNK, Sealed, unseal

# The least that S3 takes for a part; one is on its way while the next is filled.
_PART = 5 * 1024 * 1024
_BLOCK = 8 * CHUNK
# Who waits for a download is told soon; a job is tried again by its queue.
_RETRIES = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
_TIMES = {"connect_timeout": timedelta(seconds=3), "timeout": timedelta(seconds=60)}

log = structlog.get_logger(__name__)


def open_bucket(url: str, config: Mapping[str, str]) -> ObjectStore:
    """Make the store of `s3://bucket/prefix`, without asking it.

    What `config` leaves out is taken from where the platform keeps it, such as `AWS_*` or the
    role of the machine. Raises ValueError, which names no secret.
    """
    is_plain = config.get("endpoint", "").startswith("http://")
    options = {**_TIMES, "allow_http": is_plain}
    # Its types ask which cloud it is; the URL tells that.
    make: Callable[..., ObjectStore] = from_url
    try:
        return make(url, config=config, client_options=options, retry_config=_RETRIES)
    except (BaseError, ValueError):
        # The package's own message repeats the URL.
        raise ValueError("the object store does not take this") from None


class ExportObjects(ExportStore):
    """One object an export, there only once its upload is complete.

    An upload that fails is aborted. One whose process is killed leaves parts that nobody can
    read, for the rules of the bucket to remove.
    """

    def __init__(self, bucket: ObjectStore, cipher: Cipher) -> None:
        self._bucket = bucket
        self._cipher = cipher

    async def write(self, export_id: ExportId, content: AsyncIterator[bytes]) -> int:
        sealed = Sealed(self._cipher, export_id, content)
        with _outages_as_unavailable():
            await put_async(
                self._bucket, _key(export_id), aiter(sealed), chunk_size=_PART, max_concurrency=1
            )
        return sealed.size

    async def read(self, export_id: ExportId) -> AsyncIterator[bytes] | None:
        try:
            return await unseal(
                self._cipher, export_id, _Object(self._bucket, _key(export_id)).read
            )
        except (FileNotFoundError, SealBroken):
            return None

    async def remove(self, export_id: ExportId) -> None:
        with _outages_as_unavailable():
            await delete_async(self._bucket, _key(export_id))


class _Object:
    """Reads in blocks, each with a request of its own: no slow reader holds a connection."""

    def __init__(self, bucket: ObjectStore, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._size: int | None = None
        self._at, self._block = 0, b""

    async def read(self, start: int, most: int) -> bytes:
        size = self._size
        if size is None:
            size = self._size = await self._begin()
        end = min(start + most, size)
        if end > self._at + len(self._block):
            with _outages_as_unavailable():
                found = await get_range_async(
                    self._bucket, self._key, start=start, end=min(start + _BLOCK, size)
                )
            self._at, self._block = start, bytes(found)
        return self._block[start - self._at :][:most]

    async def _begin(self) -> int:
        with _outages_as_unavailable(but=FileNotFoundError):
            found = await get_async(self._bucket, self._key, options={"range": (0, _BLOCK)})
            self._block = bytes(await found.bytes_async())
        return found.meta["size"]


def _key(export_id: ExportId) -> str:
    return f"{export_id}.export"


@contextmanager
def _outages_as_unavailable(but: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Say which kind of failure it was, and no more: messages hold addresses and answers."""
    try:
        yield
    except but:
        raise
    except (BaseError, OSError) as failed:
        log.warning("object store failed", error=type(failed).__name__)
        raise Unavailable from None
