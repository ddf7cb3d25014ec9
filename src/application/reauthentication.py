"""The password asked for again, before what a stolen session alone must not do."""

from ..domain.audit import AuditType, ClientContext
from ..domain.dataclasses import dataclass
from ..domain.errors import WrongPassword
from ..domain.roles import Principal
from .audit import Auditor
from .guesses import Guesses
from .ports.security import PasswordHasher


@dataclass(frozen=True, slots=True)
class Reauthenticate:
    """Compare the caller's password; audit a wrong one as the failure of what it was asked for.

    Who goes on compares the stored hash again under lock. Raises RateLimited, WrongPassword,
    Overloaded.
    """

    guesses: Guesses
    hasher: PasswordHasher
    auditor: Auditor

    async def __call__(
        self, *, actor: Principal, password: str, purpose: AuditType, client: ClientContext
    ) -> None:
        account = actor.own_account
        async with self.guesses.at_account(account.id, client) as guess:
            if await self.hasher.verify(password, account.password_hash):
                await guess.forget()
                return
            await self.auditor.refused(
                purpose,
                client,
                actor=actor,
                subject=account.id,
                failure=WrongPassword.code,
            )
            raise WrongPassword
