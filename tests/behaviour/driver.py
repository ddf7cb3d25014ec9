"""What the behaviour suite asks of a way to reach Gatepost: a few verbs, whatever carries them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

PASSWORD = "a quiet sea of numbers"
ADMIN = "root-of-all"


class Refused(Exception):
    """A refusal, by the stable code that every entrypoint hands on (docs/reference/errors.md)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    id: UUID
    username: str
    email: str
    email_verified: bool
    roles: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    access_token: str
    refresh_token: str
    session_id: UUID
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSession:
    id: UUID
    device_name: str | None
    is_current: bool


class Driver(Protocol):
    """One running Gatepost; every method raises Refused with the code of a refusal.

    Limits are off, an administrator ADMIN with PASSWORD exists, and queued jobs get done.
    Tests share it, each with usernames of its own.
    """

    async def mailed_token(self, address: str, number: int = 1) -> str:
        """Wait for the n-th mail to an address that has a link, and return the link's token."""
        ...

    async def register(self, *, username: str, email: str, password: str) -> None: ...

    async def verify_email(self, *, token: str, password: str) -> Account: ...

    async def log_in(
        self, *, login: str, password: str, device_name: str | None = None
    ) -> Tokens: ...

    async def refresh(self, *, refresh_token: str) -> Tokens: ...

    async def log_out(self, *, access_token: str) -> None: ...

    async def me(self, *, access_token: str) -> Account: ...

    async def change_password(
        self, *, access_token: str, current_password: str, new_password: str
    ) -> None: ...

    async def request_reset(self, *, email: str) -> None: ...

    async def reset_password(self, *, token: str, new_password: str) -> None: ...

    async def list_sessions(self, *, access_token: str) -> Sequence[OwnSession]: ...

    async def end_session(self, *, access_token: str, session_id: UUID) -> None: ...

    async def end_other_sessions(self, *, access_token: str) -> None: ...

    async def list_accounts(self, *, access_token: str) -> Sequence[Account]:
        """List accounts, newest first or not; needs the scope `users:read`."""
        ...
