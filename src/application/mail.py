"""Mail by job: written with the change, sealed until a worker sends it."""

from dataclasses import replace
from datetime import datetime, timedelta

from ..domain.accounts import DEFAULT_LOCALE, Account
from ..domain.addresses import EmailAddress
from ..domain.audit import AuditType, ClientContext
from ..domain.credentials import OneTimeToken, Purpose
from ..domain.dataclasses import dataclass
from .audit import Auditor
from .ports.delivery import Job, JobName, Mail, Mailer, MailTemplate, Undeliverable
from .ports.security import Cipher, Clock, Secrets
from .ports.storage import Transaction
from .sealed_jobs import sealed_job, unseal

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
        self,
        tx: Transaction,
        account: Account,
        template: MailTemplate,
        now: datetime,
        *,
        to: EmailAddress | None = None,
    ) -> None:
        """Queue a mail without a link, to the account's address or to one that it had."""
        expires_at, to = now + _NOTICE_LIFETIME, to or account.email
        await tx.jobs.enqueue(self._job(account, template, to, None, expires_at))

    async def warn(
        self, tx: Transaction, to: str, template: MailTemplate, about: str, now: datetime
    ) -> None:
        """Queue a mail to somebody who needs no account: an operator, about `about`."""
        values = {
            "template": template.value,
            "to": to,
            "locale": DEFAULT_LOCALE,
            "username": "",
            "token": None,
            "about": about,
            "expires_at": (now + _NOTICE_LIFETIME).isoformat(),
        }
        job_id = self.secrets.new_id()
        await tx.jobs.enqueue(sealed_job(self.cipher, job_id, JobName.SEND_MAIL, values))

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
        job = self._job(account, template, account.email, secret, token.expires_at)
        await tx.jobs.enqueue(job)

    async def ask_new_address(
        self, tx: Transaction, account: Account, email: EmailAddress, now: datetime
    ) -> None:
        """Issue a token for a change of address, and queue its mail to the new one."""
        secret = self.secrets.new_token()
        token = _token_of_change(secret, Purpose.CHANGE_EMAIL, account, email, now)
        await tx.tokens.add(token)
        template = MailTemplate.CONFIRM_EMAIL
        job = self._job(account, template, email, secret, token.expires_at)
        await tx.jobs.enqueue(replace(job, name=JobName.CONFIRM_NEW_ADDRESS))

    async def offer_undo(self, tx: Transaction, account: Account, now: datetime) -> None:
        """Tell the present address of a change that was asked for, with a link that undoes it."""
        secret = self.secrets.new_token()
        token = _token_of_change(secret, Purpose.UNDO_EMAIL, account, account.email, now)
        await tx.tokens.add(token)
        template = MailTemplate.EMAIL_CHANGE_REQUESTED
        job = self._job(account, template, account.email, secret, token.expires_at)
        await tx.jobs.enqueue(job)

    def _job(
        self,
        account: Account,
        template: MailTemplate,
        to: EmailAddress,
        token: str | None,
        expires_at: datetime,
    ) -> Job:
        values = {
            "template": template.value,
            "to": to.value,
            "locale": account.locale,
            "username": account.username.value,
            "token": token,
            "expires_at": expires_at.isoformat(),
        }
        job = sealed_job(self.cipher, self.secrets.new_id(), JobName.SEND_MAIL, values)
        return replace(job, account_id=account.id)


def _token_of_change(
    secret: str, purpose: Purpose, account: Account, sets: EmailAddress, now: datetime
) -> OneTimeToken:
    return OneTimeToken.issue(
        secret, purpose, account.id, account.email.key, now, new_email=sets.value
    )


@dataclass(frozen=True, slots=True)
class SendMail:
    """Deliver one queued mail; one whose token has expired is dropped.

    One whose address is refused for good is done, too, and noted: nothing would come of it, and
    an address that was mistyped is no failure to be looked after.
    """

    mailer: Mailer
    cipher: Cipher
    policy: MailPolicy
    auditor: Auditor
    now: Clock

    async def __call__(self, job: Job) -> None:
        values = unseal(self.cipher, job)
        if self.now() >= datetime.fromisoformat(values["expires_at"] or ""):
            return
        try:
            await self.mailer.send(self._mail(job, values))
        except Undeliverable:
            await self.auditor.refused(
                AuditType.MAIL_UNDELIVERABLE,
                ClientContext(),
                subject=job.account_id,
                failure="address_refused",
            )

    def _mail(self, job: Job, values: dict[str, str | None]) -> Mail:
        template = MailTemplate(values["template"] or "")
        return Mail(
            id=job.id,
            template=template,
            to=values["to"] or "",
            locale=values["locale"] or "",
            username=values["username"] or "",
            link=self.policy.link(template, values["token"]),
            # Releases before did not write it.
            about=values.get("about"),
        )
