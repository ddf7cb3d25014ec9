"""Accounts: who somebody is, how he is reached, and whether that was proven."""

import re
from dataclasses import field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from .addresses import EmailAddress
from .dataclasses import dataclass
from .errors import FieldError, ValidationFailed

AccountId = NewType("AccountId", UUID)

MAX_BIO = 500
# An administrator chose it, so that it is known to two.
INITIAL_PASSWORD_TTL = timedelta(days=7)
# Nobody shall be taken for who was here before.
USERNAME_KEPT = timedelta(days=90)
DEFAULT_LOCALE = "en"
_USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,49}")
# Of an erased account; nobody can ask for it, as it does not parse.
_NO_ADDRESS = EmailAddress("")
# The shape of a BCP 47 tag (RFC 5646 section 2.1), not the registry of its subtags.
_LOCALE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}")


@dataclass(frozen=True, slots=True)
class Username:
    """A public handle; unique without regard to case."""

    value: str

    @classmethod
    def parse(cls, text: str, field: str = "username") -> "Username":
        if not _USERNAME.fullmatch(text):
            raise ValidationFailed(
                FieldError(
                    field,
                    "invalid_username",
                    "3 to 50 letters, digits, dots, underscores or hyphens, "
                    "starting with a letter or digit.",
                )
            )
        return cls(text)

    @property
    def key(self) -> str:
        return self.value.lower()


def parse_bio(text: str | None) -> str | None:
    if text is not None and len(text) > MAX_BIO:
        raise ValidationFailed(FieldError("bio", "too_long", f"At most {MAX_BIO} characters."))
    return text or None


def parse_locale(text: str) -> str:
    if not _LOCALE.fullmatch(text):
        raise ValidationFailed(FieldError("locale", "invalid_locale", "A BCP 47 language tag."))
    return text


def changes(before: "Account", after: "Account") -> tuple[str, ...]:
    """Name the fields that anybody may change and that differ; the address is another matter."""
    names = ("username", "bio", "locale")
    return tuple(name for name in names if getattr(before, name) != getattr(after, name))


class AccountStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPolicy:
    """Who may register, and what an unproven address is worth."""

    registration_open: bool = True
    require_verified_email: bool = True
    unverified_ttl: timedelta = timedelta(days=7)
    # A second notice within this time would make us a tool to flood a mailbox.
    notice_interval: timedelta = timedelta(hours=1)


@dataclass(slots=True, kw_only=True)
class Account:
    """A person's account.

    `is_placeholder`: the address asked for belongs to somebody else, so that this row only keeps
    the username, exactly as a real registration would (or a second try with it would tell).
    `expires_at`: registered itself and proved no address yet; gone then.
    `password_expires_at`: an administrator chose the password; it opens no session, and until
    then it can only be exchanged for one of the owner's own.
    An erased account is a placeholder without address and password.
    """

    id: AccountId
    username: Username
    email: EmailAddress
    email_verified: bool = False
    is_placeholder: bool = False
    password_hash: str | None = field(default=None, repr=False)
    bio: str | None = None
    locale: str = DEFAULT_LOCALE
    status: AccountStatus = AccountStatus.ACTIVE
    roles: tuple[str, ...] = ()
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    notified_at: datetime | None = None
    password_expires_at: datetime | None = None

    def is_usable(self, now: datetime) -> bool:
        return self.status is AccountStatus.ACTIVE and not self.has_expired(now)

    def has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    def has_password_expired(self, now: datetime) -> bool:
        return self.password_expires_at is not None and now >= self.password_expires_at

    def may_be_told_again(self, now: datetime, policy: AccountPolicy) -> bool:
        return self.notified_at is None or now >= self.notified_at + policy.notice_interval

    def correct_address(self, email: EmailAddress, *, taken: bool, now: datetime) -> None:
        """Replace the mistyped address of a registration that was never proven."""
        self.email = email
        self.is_placeholder = taken
        self.notified_at = now
        self.updated_at = now

    def prove_address(self, now: datetime) -> None:
        self.email_verified = True
        self.expires_at = None
        # Mails so far were about the proof; the first attempt by a stranger is news.
        self.notified_at = None
        self.updated_at = now

    def touch(self, now: datetime) -> None:
        """Mark a change; always later than the one before, since it is the account's version."""
        self.updated_at = max(now, self.updated_at + timedelta(microseconds=1))

    def assign_address(self, email: EmailAddress) -> None:
        """Take an address that somebody else chose: nobody has proven it."""
        self.email = email
        self.email_verified = False

    def set_password(self, password_hash: str, now: datetime) -> None:
        self.password_hash = password_hash
        self.password_expires_at = None
        self.updated_at = now

    def recover(self, password_hash: str, now: datetime) -> None:
        """Set a password with a mailed token, which proves the mailbox too.

        Whoever registered an address that was never proven may be a stranger lying in wait
        (pre-hijacking): what he set goes. What an administrator set stays.
        """
        if self.expires_at is not None:
            self.bio = None
            self.roles = ()
        self.set_password(password_hash, now)
        self.prove_address(now)

    def change_address(self, email: EmailAddress, now: datetime) -> None:
        """Take an address whose mailbox was just proven."""
        self.email = email
        self.prove_address(now)

    def take_back_address(self, email: EmailAddress, now: datetime) -> None:
        """Return to an address whose owner says that the change was not his.

        Somebody knew the password, so it opens nothing any more.
        """
        self.change_address(email, now)
        self.void_password(now)

    def void_password(self, now: datetime) -> None:
        self.password_hash = None
        self.password_expires_at = None
        self.touch(now)

    def lock_out(self, now: datetime) -> None:
        """Let nobody in until an administrator has found out whose account it is."""
        self.void_password(now)
        self.status = AccountStatus.SUSPENDED

    def give_up_address(self, now: datetime) -> None:
        """Keep the username alone: somebody else proved that the address asked for is his."""
        self.is_placeholder = True
        self.touch(now)

    def erase(self, now: datetime) -> None:
        """Forget the person; the username alone stays taken for a while."""
        self.email = _NO_ADDRESS
        self.email_verified = False
        self.is_placeholder = True
        self.void_password(now)
        self.bio = None
        self.locale = DEFAULT_LOCALE
        # Whoever still holds the account as it was a moment ago can do nothing with it.
        self.status = AccountStatus.SUSPENDED
        self.roles = ()
        self.notified_at = None
        self.expires_at = now + USERNAME_KEPT
