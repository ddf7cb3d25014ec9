"""Accounts by the hundred in memory."""

from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import datetime

from ...application.ports.transfer import AccountTransfer
from ...domain.accounts import Account, AccountId
from .repositories import Tables


class MemoryTransfer(AccountTransfer):
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._rows = tables.accounts

    async def read_after(self, after: AccountId | None, limit: int) -> Sequence[Account]:
        people = (row for row in self._rows.values() if not row.is_placeholder)
        behind = [row for row in people if after is None or row.id > after]
        return [replace(row) for row in sorted(behind, key=lambda row: row.id)[:limit]]

    async def find_rivals(self, accounts: Sequence[Account], now: datetime) -> Sequence[Account]:
        return [replace(row) for row in self._sharing(accounts) if not row.has_expired(now)]

    async def add_all(self, accounts: Sequence[Account], now: datetime) -> Set[AccountId]:
        for rival in self._sharing(accounts):
            if rival.has_expired(now):
                self._tables.remove_account(rival.id)
        added = set()
        for account in accounts:
            if not self._sharing([account]):
                self._rows[account.id] = replace(account)
                added.add(account.id)
        return added

    def _sharing(self, accounts: Sequence[Account]) -> Sequence[Account]:
        ids = {account.id for account in accounts}
        names = {account.username.key for account in accounts}
        emails = {account.email.key for account in accounts if not account.is_placeholder}
        return [
            row
            for row in self._rows.values()
            if row.id in ids
            or row.username.key in names
            or (row.email.key in emails and not row.is_placeholder)
        ]
