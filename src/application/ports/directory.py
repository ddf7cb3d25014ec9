"""What the core asks of storage for those who administer accounts and roles."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from ...domain.accounts import Account, AccountId, AccountStatus
from ...domain.dataclasses import dataclass
from ...domain.roles import Role


class AccountSort(StrEnum):
    CREATED_AT = "created_at"
    NEWEST = "-created_at"
    USERNAME = "username"
    USERNAME_DOWN = "-username"
    EMAIL = "email"
    EMAIL_DOWN = "-email"

    @property
    def column(self) -> str:
        return self.value.removeprefix("-")

    @property
    def is_descending(self) -> bool:
        return self.value.startswith("-")

    def position(self, account: Account) -> tuple[str, ...]:
        """Tell where an account stands in this order; no two stand in one place."""
        if self.column == "username":
            return (account.username.key,)
        if self.column == "email":
            return (account.email.key,)
        return (account.created_at.isoformat(timespec="microseconds"), str(account.id))


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountQuery:
    """Which accounts, and in what order. `prefix` is the start of a username's or address's key.

    `role` is the name of a role that accounts name: not `user`, which all of them hold.
    """

    prefix: str | None = None
    status: AccountStatus | None = None
    role: str | None = None
    sort: AccountSort = AccountSort.NEWEST


class AccountDirectory(Protocol):
    """Accounts for those who administer them; placeholders do not exist here."""

    async def list_accounts(
        self, query: AccountQuery, *, after: Sequence[str] | None = None, limit: int
    ) -> Sequence[Account]:
        """List up to `limit` accounts behind a position of the query's order.

        Never reads the whole table, whatever is asked for.
        """
        ...

    async def lock_admins(self) -> frozenset[AccountId]:
        """Hold every lasting administrator (`is_lasting_admin`) until the end.

        Locked in the order of ids. To be called before any other lock of the transaction, or
        two of them could wait for each other. Whoever waited sees what the other one did.
        """
        ...


class RoleRepository(Protocol):
    """Roles beside the built-in ones."""

    async def list_all(self) -> Sequence[Role]:
        """List by name."""
        ...

    async def find(self, names: Sequence[str], *, lock: bool = False) -> Sequence[Role]:
        """Read those that exist, by name; with `lock` they are held until the end."""
        ...

    async def put(self, role: Role, now: datetime) -> bool:
        """Insert or replace; True for a new one."""
        ...

    async def delete(self, name: str) -> bool:
        """Delete; False when there is none. Raises RoleInUse while an account names it.

        Waits for those who hold it by `find(lock=True)`, and sees what they did.
        """
        ...
