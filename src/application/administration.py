"""Accounts as operators and administrators see them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..domain.accounts import Account, AccountId, Username
from ..domain.addresses import EmailAddress
from ..domain.audit import AuditType, ClientContext
from ..domain.credentials import PasswordPolicy
from ..domain.errors import NotFound, ValidationFailed
from ..domain.roles import ADMIN, BUILT_IN_ROLES, Principal, Scope
from .audit import Auditor
from .ports.security import Clock, PasswordHasher, Secrets
from .ports.storage import UnitOfWork
from .registration import Registration


@dataclass(frozen=True, slots=True)
class CreateAdministrator:
    """Create a verified account with the role `admin`.

    The way in on a fresh installation: there is no default account (OWASP ASVS 6.3.2).
    Nobody grants what he does not hold: the caller needs every scope of the role.
    Raises InsufficientScope, ValidationFailed, UsernameTaken, EmailTaken.
    """

    uow: UnitOfWork
    hasher: PasswordHasher
    secrets: Secrets
    auditor: Auditor
    now: Clock
    passwords: PasswordPolicy

    async def __call__(
        self, *, actor: Principal, username: str, email: str, password: str, client: ClientContext
    ) -> Account:
        for scope in sorted(BUILT_IN_ROLES[ADMIN]):
            actor.require(scope)
        form = Registration.parse(
            self.passwords,
            username=username,
            email=email,
            password=password,
            bio=None,
            locale=None,
        )
        password_hash, now = await self.hasher.hash(form.password), self.now()
        account = Account(
            id=AccountId(self.secrets.new_id()),
            username=form.username,
            email=form.email,
            email_verified=True,
            password_hash=password_hash,
            locale=form.locale,
            roles=(ADMIN,),
            created_at=now,
            updated_at=now,
        )
        async with self.uow() as tx:
            await tx.accounts.add(account, now)
            type_, creator = AuditType.ACCOUNT_CREATED, actor.account_id
            await self.auditor.note(tx, type_, now, client, actor=creator, subject=account.id)
            await tx.commit()
        return account


@dataclass(frozen=True, slots=True)
class ListAccounts:
    """List accounts, newest first."""

    uow: UnitOfWork

    async def __call__(self, *, actor: Principal, limit: int = 50) -> Sequence[Account]:
        actor.require(Scope.USERS_READ)
        async with self.uow() as tx:
            return await tx.directory.list_accounts(limit=limit)


@dataclass(frozen=True, slots=True)
class ShowAccount:
    """Find an account by username or address; raises NotFound."""

    uow: UnitOfWork

    async def __call__(self, *, actor: Principal, login: str) -> Account:
        actor.require(Scope.USERS_READ)
        try:
            async with self.uow() as tx:
                if "@" in login:
                    account = await tx.accounts.find_by_email(EmailAddress.parse(login))
                else:
                    account = await tx.accounts.find_by_username(Username.parse(login))
        except ValidationFailed:
            raise NotFound from None
        if account is None or account.is_placeholder:
            raise NotFound
        return account


@dataclass(frozen=True, slots=True)
class Administration:
    """What is done to accounts by those who run the service."""

    create_administrator: CreateAdministrator
    list_accounts: ListAccounts
    show: ShowAccount
