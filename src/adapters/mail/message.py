"""Internet messages (RFC 5322) from mails."""

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from ...application.ports.delivery import Mail
from ...application.ports.security import Clock
from .rendering import MailTexts
from .sender import parse_sender

# Folding at 78 characters breaks a long address into encoded words, and a link into pieces; 998
# is what RFC 5322 section 2.1.1 allows.
_POLICY = SMTP.clone(max_line_length=998, cte_type="7bit")


class MessageBuilder:
    """Builds the message of a mail; the Message-ID is the same at every attempt.

    `sender` is an address with or without a name: `Gatepost <no-reply@example.com>`.
    """

    def __init__(self, texts: MailTexts, sender: str, now: Clock) -> None:
        self._texts = texts
        self._sender = parse_sender(sender)
        self._now = now

    @property
    def sender_address(self) -> str:
        return self._sender.addr_spec

    @property
    def sender_domain(self) -> str:
        return self._sender.domain

    def build(self, mail: Mail) -> EmailMessage:
        """Render; raises Undeliverable for what is no address, ValueError for a missing link."""
        rendered = self._texts.render(mail)
        message = EmailMessage(_POLICY)
        message["From"] = self._sender
        local, _, domain = mail.recipient.value.rpartition("@")
        message["To"] = Address(username=local, domain=domain)
        message["Subject"] = rendered.subject
        message["Date"] = format_datetime(self._now())
        message["Message-ID"] = f"<{mail.id}@{self._sender.domain}>"
        # RFC 3834 section 5: no out-of-office notes in return.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(rendered.text)
        message.add_alternative(rendered.html, subtype="html")
        message["Content-Language"] = rendered.language
        return message
