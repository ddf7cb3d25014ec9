"""What the core asks of storage about accounts."""

from datetime import datetime
from typing import Protocol

from ...domain.accounts import Account, AccountId, Username
from ...domain.addresses import EmailAddress


class AccountRepository(Protocol):
    """Accounts. Usernames and addresses are unique by their keys, and storage is the arbiter."""

    async def get(self, account_id: AccountId, *, lock: bool = False) -> Account | None:
        """Read one; with `lock` the row is held until the transaction ends."""
        ...

    async def find_by_email(self, email: EmailAddress) -> Account | None:
        """Find the owner of an address; placeholders own none."""
        ...

    async def find_unproven(self, email: EmailAddress, now: datetime) -> Account | None:
        """Find the latest (`updated_at`, then `id`) to ask for this address and not prove it.

        Placeholders included, expired ones not: to who made it, a placeholder must look like
        the registration that it stands for. The latest, since a stranger's own then always
        answers him alike, whether or not somebody else's was pending before.
        """
        ...

    async def find_by_username(self, username: Username) -> Account | None:
        """Find who holds a username, placeholders included."""
        ...

    async def add(self, account: Account, now: datetime) -> None:
        """Insert; an expired holder of the same username or address gives way first.

        Raises UsernameTaken or EmailTaken and leaves the transaction usable, so that a loser of
        a race can go on in the same transaction.
        """
        ...

    async def save(self, account: Account) -> None:
        """Write all fields back; raises UsernameTaken or EmailTaken as `add` does."""
        ...

    async def replace_hash(self, account_id: AccountId, old: str, new: str) -> bool:
        """Swap the password hash only if it is still `old`; atomic."""
        ...

    async def remove_expired(self, now: datetime, limit: int) -> int:
        """Delete up to `limit` registrations that were never proven; returns how many."""
        ...
