"""What older releases wrote is kept, and what they go on writing while others migrate is taken.

`data/<revision>.sql` holds what a service of that revision wrote. A release that changes the
schema adds a file of its own; the older ones stay.
"""

import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from dependency_injector import providers

from gatepost.adapters.postgres import migrate
from gatepost.adapters.postgres.consumer import consume
from gatepost.application.gatepost import Gatepost, assemble
from gatepost.domain.audit import AuditFilter, ClientContext
from gatepost.entrypoints.container import Container, policies_of
from gatepost.entrypoints.settings import load
from tests.service import PASSWORD

DATA = Path(__file__).parent / "data"
RELEASES = sorted(file.stem for file in DATA.glob("*.sql"))
# Made for these files, and of no use elsewhere.
MASTER_KEY = "YSBrZXkgdGhhdCBpcyBmb3IgdGhlc2UgdGVzdHMgMzI"
THEN = datetime(2026, 11, 24, 22, 58, tzinfo=UTC)
REFRESH_TOKEN = (
    "gpr_bOOdq-DCAjyx-E4tQF0NiLE-5GyJEY2NgvuG-CmDj5fg7cyPN6CN_zOLuw1X4UZhmxBbYxqiHL0PZ8w"
)
VERIFY_TOKEN = "Lk-j2hEOIsLDJPTLXiRMnYpofWbZapuyr5NLNeFXCYI"
RESET_TOKEN = "c8FPeaQ8jU2iqQrg9Xc8c0rkX6-wqhN7F23vCo-VzpE"
CLIENT = "01a20fc6-d507-7280-923a-04892b9e7854"
CLIENT_SECRET = "gpc_8Q4wd6bZcIzGwueZZM4lOVPeRCdSdxX_IUIqdSnop0g"
NOBODY = ClientContext()


async def write_as(release: str, url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute((DATA / f"{release}.sql").read_text())
    await connection.close()


async def everything_works(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use each kind of thing that the data hold, at the time when it was written."""
    monkeypatch.setenv("GATEPOST_SECRETS__KEYS", MASTER_KEY)
    monkeypatch.setenv("GATEPOST_MAIL__URL", f"file://{folder}/mail")
    settings = load(database_url=url, data_dir=folder)
    container = Container(settings=providers.Object(settings))
    container.now.override(providers.Object(lambda: THEN))
    gatepost = assemble(container.ports(), policies_of(settings))
    await container.callers().open()
    await container.rotations().open()
    await container.postgres_limiter().open()
    try:
        await gatepost.keys.load()
        await _used(gatepost)
        await _cleos_mail_arrives(gatepost, url, folder)
    finally:
        await container.callers().close()
        await container.rotations().close()
        container.hasher().close()
        await container.postgres_limiter().close()
        await container.engine().dispose()


async def _cleos_mail_arrives(gatepost: Gatepost, url: str, folder: Path) -> None:
    stop = asyncio.Event()
    worker = asyncio.create_task(consume(url, gatepost.jobs.run, stop))
    arrived = partial(_has_mail, folder, "cleo@example.com")
    async with asyncio.timeout(30):
        while not arrived():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    stop.set()
    await worker


def _has_mail(folder: Path, address: str) -> bool:
    return any(f"To: {address}" in file.read_text() for file in folder.glob("mail/*.eml"))


async def _used(gatepost: Gatepost) -> None:
    sessions, oauth = gatepost.sessions, gatepost.oauth
    refreshed = await sessions.refresh(refresh_token=REFRESH_TOKEN, client=NOBODY)
    ada = await sessions.authenticate(access_token=refreshed.access_token)
    me = await gatepost.accounts.read(actor=ada)
    assert (me.username.value, me.bio, me.locale) == ("ada", "Counts.", "de")
    await gatepost.accounts.verify_email(token=VERIFY_TOKEN, password=PASSWORD, client=NOBODY)
    await sessions.log_in(login="bea", password=PASSWORD, client=NOBODY)
    await gatepost.credentials.reset(
        token=RESET_TOKEN, new_password="another quiet sea", client=NOBODY
    )
    machine = await oauth.authenticate_client(
        client_id=CLIENT, secret=CLIENT_SECRET, client=NOBODY
    )
    assert machine.scopes == ("users:read",)
    root = await sessions.log_in(login="root", password=PASSWORD, client=NOBODY)
    admin = await sessions.authenticate(access_token=root.access_token)
    assert [role.name for role in await gatepost.roles.list_all(actor=admin)] == [
        "admin",
        "reader",
        "user",
    ]
    assert ada.account is not None
    only_hers = AuditFilter(subject=ada.account.id)
    trail = await gatepost.audit(actor=admin, filter_=only_hers)
    assert len(trail.items) > 5


@pytest.mark.parametrize("release", RELEASES)
async def test_what_an_older_release_wrote_outlives_the_migration(
    release: str, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate.run(empty_url, lambda config: command.upgrade(config, release))
    await write_as(release, empty_url)
    await migrate.upgrade(empty_url)
    await everything_works(empty_url, tmp_path, monkeypatch)


@pytest.mark.parametrize("release", RELEASES)
async def test_re_14_what_an_older_release_writes_after_the_migration_is_taken(
    release: str, own_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_as(release, own_url)
    await everything_works(own_url, tmp_path, monkeypatch)
