"""Accounts as records that move from one installation, or another system, to another."""

from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import UUID

from .accounts import (
    DEFAULT_LOCALE,
    Account,
    AccountId,
    AccountStatus,
    Username,
    parse_bio,
    parse_locale,
)
from .addresses import EmailAddress
from .dataclasses import dataclass
from .errors import FieldError, ValidationFailed
from .roles import USER, roles_held

_MOST_ROLES = 50
# What Django, and shadow files, write for an account without a usable password.
_UNUSABLE = "!"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRecord:
    """One account of a file. `password_hash` is as it was given: text, or another's object."""

    username: Username
    email: EmailAddress
    id: AccountId | None = None
    email_verified: bool = False
    bio: str | None = None
    locale: str = DEFAULT_LOCALE
    status: AccountStatus = AccountStatus.ACTIVE
    roles: tuple[str, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    expires_at: datetime | None = None
    password_expires_at: datetime | None = None
    password_hash: str | Mapping[str, object] | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, value: object) -> "AccountRecord":
        """Check every member and refuse with all faults at once; raises ValidationFailed."""
        if not isinstance(value, Mapping):
            raise ValidationFailed(FieldError("row", "invalid_type", "Not a JSON object."))
        faults = [
            FieldError(_shown(str(name)), "unknown_field", "There is no such field.")
            for name in value
            if name not in _FIELDS
        ]
        values: dict[str, Any] = {}
        for name, read in _FIELDS.items():
            try:
                if value.get(name) is not None:
                    values[name] = read(value[name], name)
                elif name in ("username", "email"):
                    _refuse(name, "missing", "Required.")
            except ValidationFailed as refused:
                faults.extend(refused.errors)
        ValidationFailed.raise_for(faults)
        return cls(**values)

    def to_account(self, new_id: AccountId, password_hash: str | None, now: datetime) -> Account:
        """Make the account; what the record leaves out is as for one made now."""
        created_at = self.created_at or now
        return Account(
            id=self.id or new_id,
            username=self.username,
            email=self.email,
            email_verified=self.email_verified,
            password_hash=password_hash,
            bio=self.bio,
            locale=self.locale,
            status=self.status,
            roles=self.roles,
            created_at=created_at,
            updated_at=self.updated_at or created_at,
            # Only who has not proven it goes.
            expires_at=None if self.email_verified else self.expires_at,
            password_expires_at=self.password_expires_at if password_hash else None,
        )


def to_record(account: Account, password_hash: str | None) -> dict[str, object]:
    """Write an account so that `AccountRecord.parse` reads the same one."""
    return {
        "id": str(account.id),
        "username": account.username.value,
        "email": account.email.value,
        "email_verified": account.email_verified,
        "bio": account.bio,
        "locale": account.locale,
        "status": account.status.value,
        "roles": list(roles_held(account.roles)),
        "created_at": _moment(account.created_at),
        "updated_at": _moment(account.updated_at),
        "expires_at": _moment(account.expires_at),
        "password_expires_at": _moment(account.password_expires_at),
        "password_hash": password_hash,
    }


def _shown(name: str) -> str:
    """Keep what a terminal or a file cannot take, or would act on, out of reports."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:50])


def _moment(time: datetime | None) -> str | None:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z") if time else None


def _refuse(name: str, code: str, message: str) -> NoReturn:
    raise ValidationFailed(FieldError(name, code, message))


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        _refuse(name, "invalid_type", "Not a text.")
    try:
        value.encode()
    except UnicodeEncodeError:
        _refuse(name, "invalid_text", "Not valid Unicode.")
    if "\0" in value:
        _refuse(name, "nul_character", "No NUL characters.")
    return value


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        _refuse(name, "invalid_type", "Neither true nor false.")
    return value


def _id(value: object, name: str) -> AccountId:
    try:
        return AccountId(UUID(_text(value, name)))
    except ValueError:
        _refuse(name, "invalid_id", "Not a UUID.")


def _time(value: object, name: str) -> datetime:
    try:
        time = datetime.fromisoformat(_text(value, name))
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        _refuse(name, "invalid_time", "Not a time such as 2026-03-01T12:00:00Z.")


def _status(value: object, name: str) -> AccountStatus:
    try:
        return AccountStatus(_text(value, name))
    except ValueError:
        _refuse(name, "invalid_status", "Neither active nor suspended.")


def _roles(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST_ROLES:
        _refuse(name, "invalid_type", f"Not a list of at most {_MOST_ROLES} names.")
    return tuple(sorted({_text(one, name) for one in value} - {USER}))


def _hash(value: object, name: str) -> str | Mapping[str, object] | None:
    if isinstance(value, Mapping):
        return value
    text = _text(value, name)
    return None if text.startswith(_UNUSABLE) else text


_FIELDS: Mapping[str, Callable[[Any, str], object]] = {
    "id": _id,
    "username": lambda value, name: Username.parse(_text(value, name)),
    "email": lambda value, name: EmailAddress.parse(_text(value, name)),
    "email_verified": _flag,
    "bio": lambda value, name: parse_bio(_text(value, name)),
    "locale": lambda value, name: parse_locale(_text(value, name)),
    "status": _status,
    "roles": _roles,
    "created_at": _time,
    "updated_at": _time,
    "expires_at": _time,
    "password_expires_at": _time,
    "password_hash": _hash,
}
