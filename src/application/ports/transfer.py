"""What the core asks of storage to move accounts in and out by the hundred."""

from collections.abc import Sequence, Set
from datetime import datetime
from typing import Protocol

from ...domain.accounts import Account, AccountId


class AccountTransfer(Protocol):
    """Each method is one or two statements, however many accounts it is about."""

    async def read_after(self, after: AccountId | None, limit: int) -> Sequence[Account]:
        """Read up to `limit` accounts by `id` behind one of them; no placeholders."""
        ...

    async def find_rivals(self, accounts: Sequence[Account], now: datetime) -> Sequence[Account]:
        """Find who has the id, username or address of one of these.

        Placeholders have no address; who has expired has nothing.
        """
        ...

    async def add_all(self, accounts: Sequence[Account], now: datetime) -> Set[AccountId]:
        """Insert those whose id, username and address are free; returns which.

        Expired holders give way first, as in `AccountRepository.add`.
        """
        ...
