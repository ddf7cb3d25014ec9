"""The mailer that the settings choose."""

from pathlib import Path

from ..adapters.mail.delivery import ConsoleMailer, FileMailer
from ..adapters.mail.message import MessageBuilder
from ..adapters.mail.rendering import MailTexts
from ..adapters.mail.server import SmtpServer
from ..adapters.system import utc_now
from ..application.ports.delivery import Mailer
from .settings import PREFIX, Settings, SettingsError


def mailer_of(settings: Settings) -> Mailer:
    """Choose by the scheme of the mail URL; a server is connected to when there is a mail for it.

    Raises SettingsError, also for a template that would fail when a mail is due.
    """
    builder = MessageBuilder(_texts(settings), settings.mail.sender, utc_now)
    target = settings.mail_target
    if isinstance(target, SmtpServer):
        return _smtp_mailer(builder, target)
    return FileMailer(builder, target) if isinstance(target, Path) else ConsoleMailer(builder)


def _texts(settings: Settings) -> MailTexts:
    try:
        return MailTexts(settings.service.name, settings.mail.templates)
    except ValueError as broken:
        raise SettingsError([f"{PREFIX}MAIL__TEMPLATES: {broken}"]) from None


def _smtp_mailer(builder: MessageBuilder, server: SmtpServer) -> Mailer:
    try:
        from ..adapters.mail.smtp import SmtpMailer
    except ImportError:
        raise SettingsError([f"{PREFIX}MAIL__URL: needs the extra gatepost[smtp]"]) from None
    return SmtpMailer(builder, server)
