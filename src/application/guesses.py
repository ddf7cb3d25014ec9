"""Guesses at passwords: each is counted before it is judged, and only wrong ones stay counted."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from ..domain.accounts import Account, AccountId
from ..domain.audit import ClientContext
from ..domain.dataclasses import dataclass
from ..domain.errors import Overloaded, Unavailable
from ..domain.limits import Rule, address_key, login_key
from .devices import Devices
from .limits import Hit, Limits


@dataclass(slots=True)
class Guess:
    """One guess that was counted."""

    limits: Limits
    hit: Hit | None

    async def forget(self) -> None:
        """Uncount it, as the password was right or never looked at; again is no error."""
        hit, self.hit = self.hit, None
        if hit is not None:
            await self.limits.give_back(hit)


@dataclass(frozen=True, slots=True)
class Guesses:
    """Budgets of whoever shows a password: delays that grow in place of locks.

    Counted is what was typed, never the account behind it: a budget that name and address share
    would tell which belong together. Everything here raises RateLimited and Unavailable.
    """

    limits: Limits
    devices: Devices

    def recall(self, login: str, device: str | None, client: ClientContext) -> None:
        """Refuse who was refused a moment ago, before he takes anything from others."""
        self.limits.recall(Rule.LOGIN_ADDRESS, address_key(client.ip))
        if not device:
            self.limits.recall(Rule.LOGIN, login_key(login))

    async def come_from(self, client: ClientContext) -> None:
        """Count the client's address, before anything is looked up."""
        await self.limits.spend(Rule.LOGIN_ADDRESS, address_key(client.ip))

    @asynccontextmanager
    async def at_login(
        self, login: str, device: str | None, candidates: Iterable[Account | None]
    ) -> AsyncIterator[Guess]:
        """Count a guess at what was typed; a browser known to a candidate has its own budget."""
        known = self.devices.recognise(device, candidates)
        hit = await self.limits.try_to_spend(Rule.DEVICE, known) if known else None
        if hit is None:
            hit = await self.limits.spend(Rule.LOGIN, login_key(login))
        async with self._judged(hit) as guess:
            yield guess

    @asynccontextmanager
    async def at_account(
        self, account_id: AccountId, client: ClientContext
    ) -> AsyncIterator[Guess]:
        """Count a guess by somebody who has a session or a mailed link already."""
        await self.come_from(client)
        # Capitals are in no login's key: nobody can use this up from outside.
        async with self._judged(
            await self.limits.spend(Rule.LOGIN, f"ACCOUNT {account_id}")
        ) as guess:
            yield guess

    @asynccontextmanager
    async def _judged(self, hit: Hit) -> AsyncIterator[Guess]:
        guess = Guess(self.limits, hit)
        try:
            yield guess
        except (Overloaded, Unavailable):
            await guess.forget()
            raise
