"""The mailer that the settings choose, made when it is needed first."""

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..adapters.mail.server import SmtpServer
from ..application.ports.delivery import Mail, Mailer
from .settings import PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    from ..adapters.mail.rendering import MailTexts


class LateMailer(Mailer):
    """Made with its first mail: a server sends none, and trying every template takes a while.

    What may be wrong is looked at before: the URL, and templates that are not ours. Raises
    SettingsError.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        if isinstance(settings.mail_target, SmtpServer) and find_spec("aiosmtplib") is None:
            raise _without_smtp()
        if settings.mail.templates is not None:
            _texts(settings)

    async def send(self, mail: Mail) -> None:
        await self._mailer.send(mail)

    async def check(self) -> None:
        await self._mailer.check()

    async def close(self) -> None:
        if "_mailer" in vars(self):
            await self._mailer.close()

    @cached_property
    def _mailer(self) -> Mailer:
        return mailer_of(self._settings)


def mailer_of(settings: Settings) -> Mailer:
    """Choose by the scheme of the mail URL; a server is connected to when there is a mail for it.

    Raises SettingsError, also for a template that would fail when a mail is due.
    """
    from ..adapters.mail.delivery import ConsoleMailer, FileMailer
    from ..adapters.mail.message import MessageBuilder
    from ..adapters.system import utc_now

    builder = MessageBuilder(_texts(settings), settings.mail.sender, utc_now)
    target = settings.mail_target
    if isinstance(target, Path):
        return FileMailer(builder, target)
    if target is None:
        return ConsoleMailer(builder)
    try:
        from ..adapters.mail.smtp import SmtpMailer
    except ImportError:
        raise _without_smtp() from None
    return SmtpMailer(builder, target)


def _texts(settings: Settings) -> "MailTexts":
    from ..adapters.mail.rendering import MailTexts

    try:
        return MailTexts(settings.service.name, settings.mail.templates)
    except ValueError as broken:
        raise SettingsError([f"{PREFIX}MAIL__TEMPLATES: {broken}"]) from None


def _without_smtp() -> SettingsError:
    return SettingsError([f"{PREFIX}MAIL__URL: needs the extra gatepost[smtp]"])
