"""What the core asks of storage about links in mails."""

from collections.abc import Sequence, Set
from datetime import datetime
from typing import Protocol

from ...domain.accounts import AccountId
from ...domain.credentials import OneTimeToken, Purpose


class OneTimeTokenRepository(Protocol):
    async def add(self, token: OneTimeToken) -> None:
        """Insert, and drop the older token of the same account, purpose and address."""
        ...

    async def find(
        self, digest: bytes, purposes: Set[Purpose], now: datetime
    ) -> OneTimeToken | None:
        """Look without spending; None when unknown, of another purpose or expired."""
        ...

    async def consume(
        self, digest: bytes, purposes: Set[Purpose], now: datetime
    ) -> OneTimeToken | None:
        """Take and delete in one statement: of N at once exactly one gets it."""
        ...

    async def drop_all(
        self, account_id: AccountId, *, keep_undo_until: datetime | None = None
    ) -> None:
        """Drop an account's tokens, but links issued until then that undo a change of address.

        Whoever took an account over changes address and password next: neither may cost the
        owner his way back.
        """
        ...

    async def list_good(self, account_id: AccountId, now: datetime) -> Sequence[OneTimeToken]:
        """List an account's tokens that have not expired, oldest first."""
        ...

    async def remove_expired(self, now: datetime, limit: int) -> int: ...
