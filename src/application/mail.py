"""Mail by job: written with the change, sealed until a worker sends it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..domain.accounts import Account
from ..domain.credentials import LIFETIMES, OneTimeToken, Purpose
from .jobs import sealed_job, unseal
from .ports.delivery import Job, JobName, Mail, Mailer, MailTemplate
from .ports.security import Cipher, Clock, Secrets
from .ports.storage import Transaction

_PAGES = {
    MailTemplate.WELCOME: "verify-email",
    MailTemplate.VERIFY_EMAIL: "verify-email",
    MailTemplate.RESET_PASSWORD: "reset-password",
    MailTemplate.SET_PASSWORD: "reset-password",
    MailTemplate.CONFIRM_EMAIL: "confirm-email",
    MailTemplate.EMAIL_CHANGE_REQUESTED: "undo-email",
}
# A notice without a link is still worth sending after an outage of the mail server.
_NOTICE_LIFETIME = timedelta(days=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailPolicy:
    """`frontend_url` comes from configuration alone: no request header changes a link."""

    frontend_url: str

    def link(self, template: MailTemplate, token: str | None) -> str | None:
        """Build the link; the token stands in the fragment, which no server logs."""
        if token is None:
            return None
        return f"{self.frontend_url}/{_PAGES[template]}#token={token}"


@dataclass(frozen=True, slots=True)
class Postbox:
    """Queues mails in the caller's transaction."""

    secrets: Secrets
    cipher: Cipher

    async def notify(
        self, tx: Transaction, account: Account, template: MailTemplate, now: datetime
    ) -> None:
        """Queue a mail without a link."""
        await self._queue(tx, account, template, None, now + _NOTICE_LIFETIME)

    async def send_token(
        self,
        tx: Transaction,
        account: Account,
        template: MailTemplate,
        purpose: Purpose,
        now: datetime,
    ) -> None:
        """Issue a one-time token, which retires the older one, and queue its mail."""
        secret = self.secrets.new_token()
        token = OneTimeToken.issue(secret, purpose, account.id, account.email.key, now)
        await tx.tokens.add(token)
        await self._queue(tx, account, template, secret, now + LIFETIMES[purpose])

    async def _queue(
        self,
        tx: Transaction,
        account: Account,
        template: MailTemplate,
        token: str | None,
        expires_at: datetime,
    ) -> None:
        values = {
            "template": template.value,
            "to": account.email.value,
            "locale": account.locale,
            "username": account.username.value,
            "token": token,
            "expires_at": expires_at.isoformat(),
        }
        job = sealed_job(self.cipher, self.secrets.new_id(), JobName.SEND_MAIL, values)
        await tx.jobs.enqueue(job)


@dataclass(frozen=True, slots=True)
class SendMail:
    """Deliver one queued mail; one whose token has expired is dropped."""

    mailer: Mailer
    cipher: Cipher
    policy: MailPolicy
    now: Clock

    async def __call__(self, job: Job) -> None:
        values = unseal(self.cipher, job)
        template = MailTemplate(values["template"] or "")
        if self.now() >= datetime.fromisoformat(values["expires_at"] or ""):
            return
        await self.mailer.send(
            Mail(
                id=job.id,
                template=template,
                to=values["to"] or "",
                locale=values["locale"] or "",
                username=values["username"] or "",
                link=self.policy.link(template, values["token"]),
            )
        )
