"""What the service leans on beside the database: mail, a folder, the store of the limits."""

import asyncio
import os
from pathlib import Path
from uuid import uuid4

from ...adapters.cipher import KeyringCipher
from ...adapters.postgres.limits import PostgresRateLimiter
from ...domain.errors import Unavailable
from ...domain.exports import ExportId
from ..exporting import export_store, exports_folder
from ..mailing import mailer_of
from ..master_keys import master_keys
from ..rate_limits import LimiterHealth, redis_limiter
from ..settings import PREFIX, Settings
from .findings import Finding, failed, ok, skipped, warning


async def look_at_mail(settings: Settings) -> list[Finding]:
    mailer = mailer_of(settings)
    try:
        await mailer.check()
    except (Unavailable, OSError):
        instead = f"Check {PREFIX}MAIL__URL: mails stay in the queue until it works."
        return [failed("mail", "cannot be delivered now", instead)]
    finally:
        await mailer.close()
    return [ok("mail", "could be delivered now")]


async def look_at_exports(settings: Settings) -> list[Finding]:
    if settings.exports.url is not None:
        return [await _bucket(settings)]
    folder = exports_folder(settings)
    if await asyncio.to_thread(_can_be_written, folder):
        return [ok("exports", f"{folder} can be written")]
    instead = f"Give this account the folder, or set {PREFIX}EXPORTS__DIR."
    return [failed("exports", f"{folder} cannot be written", instead)]


async def _bucket(settings: Settings) -> Finding:
    """Remove what is not there: that needs the bucket, and what uploads need to get in."""
    store = export_store(settings, KeyringCipher(master_keys(settings)))
    try:
        await store.remove(ExportId(uuid4()))
    except Unavailable:
        instead = f"Check {PREFIX}EXPORTS__URL and what stands beside it: exports wait for it."
        return failed("exports", "the object store refuses, or does not answer", instead)
    return ok("exports", "the object store takes them")


def _can_be_written(folder: Path) -> bool:
    try:
        while not folder.exists():
            # Made with the first export.
            folder = folder.parent
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


async def look_at_limits(settings: Settings) -> list[Finding]:
    if not settings.limits.enabled:
        return [skipped("limits", "switched off")]
    if settings.redis_url is not None:
        return [await _redis(settings)]
    if settings.database_url is None:
        return [skipped("limits", "counted in the database, which is not there yet")]
    store = PostgresRateLimiter(settings.pooled_url, size=1)
    await store.open()
    try:
        await LimiterHealth(store)()
    except Unavailable:
        return [failed("limits", "the database cannot count", "See database and schema.")]
    finally:
        await store.close()
    return [ok("limits", "counted in PostgreSQL")]


async def _redis(settings: Settings) -> Finding:
    store = redis_limiter(settings)
    if store is None:
        raise RuntimeError("REDIS_URL was looked at before.")
    try:
        await LimiterHealth(store)()
    except Unavailable:
        says = "Redis does not answer; PostgreSQL counts in its place"
        return warning("limits", says, "Check REDIS_URL, and that the server runs.")
    finally:
        await store.close()
    return ok("limits", "counted in Redis")
