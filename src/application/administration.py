"""Accounts as operators and administrators see them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from ..domain.accounts import (
    INITIAL_PASSWORD_TTL,
    Account,
    AccountId,
    AccountStatus,
    Username,
)
from ..domain.addresses import EmailAddress
from ..domain.audit import AuditType, ClientContext
from ..domain.credentials import PasswordPolicy
from ..domain.dataclasses import dataclass
from ..domain.errors import NotFound, PermissionDenied, ValidationFailed
from ..domain.limits import Rule
from ..domain.roles import ADMIN, BUILT_IN_ROLES, USER, Principal, Scope
from .audit import Auditor
from .idempotency import UNKEYED, Once
from .limits import Limits
from .mail import Postbox
from .paging import Cursors, Page
from .ports.directory import AccountQuery, AccountSort
from .ports.security import Clock, PasswordHasher, Secrets
from .ports.storage import UnitOfWork
from .recovery import EndEverySession, RecoverAccount
from .registration import Registration
from .roles import refuse_grant
from .supervision import (
    AmendAccount,
    DeleteAccount,
    EndSessionsOf,
    ListSessionsOf,
    Reactivate,
    SendReset,
    SetRoles,
    Suspend,
    mail_link,
    named_roles,
)


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
        account = self._made(form, password_hash, now)
        async with self.uow() as tx:
            await tx.accounts.add(account, now)
            type_ = AuditType.ACCOUNT_CREATED
            await self.auditor.note(tx, type_, now, client, actor=actor, subject=account.id)
            await tx.commit()
        return account

    def _made(self, form: Registration, password_hash: str, now: datetime) -> Account:
        return Account(
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


@dataclass(frozen=True, slots=True)
class CreateAccount:
    """Create an account for somebody else; its address is unproven.

    With a password, an initial one: it opens no session until the owner changes it, and a link
    to prove the address is mailed. Without one the mailed link lets him set his first. With no
    mail left for the address there is no link.

    Raises InsufficientScope, ValidationFailed, UsernameTaken, EmailTaken, Overloaded,
    PermissionDenied (audited) for roles without `roles:write` or beyond the actor, and what
    `once` does.
    """

    uow: UnitOfWork
    limits: Limits
    hasher: PasswordHasher
    secrets: Secrets
    postbox: Postbox
    auditor: Auditor
    now: Clock
    passwords: PasswordPolicy

    async def __call__(
        self,
        *,
        actor: Principal,
        username: str,
        email: str,
        password: str | None = None,
        bio: str | None = None,
        locale: str | None = None,
        roles: Sequence[str] = (),
        client: ClientContext,
        once: Once[Account] = UNKEYED,
    ) -> Account:
        actor.require(Scope.USERS_WRITE)
        form = Registration.parse(
            self.passwords,
            username=username,
            email=email,
            password=password,
            bio=bio,
            locale=locale,
        )
        try:
            return await self._create(actor, form, named_roles(roles), client, once)
        except PermissionDenied as refused:
            type_ = AuditType.ACCOUNT_CREATED
            await self.auditor.refused(
                type_, client, actor=actor, subject=None, failure=refused.code
            )
            raise

    async def _create(
        self,
        actor: Principal,
        form: Registration,
        named: tuple[str, ...],
        client: ClientContext,
        once: Once[Account],
    ) -> Account:
        if named and Scope.ROLES_WRITE not in actor.scopes:
            raise PermissionDenied("Giving roles needs the scope roles:write.")
        async with self.uow() as tx:
            await once.find(tx)
            await refuse_grant(tx, actor, named)
        has_mail = await self.limits.try_to_spend(Rule.MAIL, form.email.key)
        account = await self._account(form, named)
        async with self.uow() as tx:
            await once.claim(tx)
            # Again, to hold the roles: a role could be deleted while the password was hashed.
            await refuse_grant(tx, actor, named)
            now = account.created_at
            await tx.accounts.add(account, now)
            if has_mail:
                await mail_link(tx, self.postbox, account, now)
            type_ = AuditType.ACCOUNT_CREATED
            await self.auditor.note(tx, type_, now, client, actor=actor, subject=account.id)
            await once.keep(tx, account, account.id)
            await tx.commit()
        return account

    async def _account(self, form: Registration, named: tuple[str, ...]) -> Account:
        password_hash = await self.hasher.hash(form.password) if form.password else None
        now = self.now()
        return Account(
            id=AccountId(self.secrets.new_id()),
            username=form.username,
            email=form.email,
            password_hash=password_hash,
            password_expires_at=now + INITIAL_PASSWORD_TTL if password_hash else None,
            bio=form.bio,
            locale=form.locale,
            roles=named,
            created_at=now,
            updated_at=now,
        )


@dataclass(frozen=True, slots=True)
class ListAccounts:
    """List accounts in pages. `q` is the start of a username or an address.

    Raises InsufficientScope, and ValidationFailed for a cursor of another list.
    """

    uow: UnitOfWork
    cursors: Cursors

    async def __call__(
        self,
        *,
        actor: Principal,
        q: str | None = None,
        status: AccountStatus | None = None,
        role: str | None = None,
        sort: AccountSort = AccountSort.NEWEST,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Account]:
        actor.require(Scope.USERS_READ)
        asked = {"list": "users", "q": q, "status": status, "role": role, "sort": sort.value}
        after = self.cursors.open(asked, cursor)
        query = AccountQuery(prefix=_prefix(q), status=status, role=role, sort=sort)
        if role == USER:
            query = replace(query, role=None)
        async with self.uow() as tx:
            found = await tx.directory.list_accounts(query, after=after, limit=limit + 1)
        items = found[:limit]
        if len(found) <= limit:
            return Page(items, None)
        return Page(items, self.cursors.seal(asked, sort.position(items[-1])))


def _prefix(q: str | None) -> str | None:
    """Spell a search as keys are: an address in its ASCII form, all else in lower case."""
    try:
        return EmailAddress.parse(q).key if q else None
    except ValidationFailed:
        return q.lower() if q else None


@dataclass(frozen=True, slots=True)
class ShowAccount:
    """Find an account by id, username or address; raises NotFound."""

    uow: UnitOfWork

    async def by_id(self, *, actor: Principal, account_id: UUID) -> Account:
        actor.require(Scope.USERS_READ)
        async with self.uow() as tx:
            account = await tx.accounts.get(AccountId(account_id))
        if account is None or account.is_placeholder:
            raise NotFound
        return account

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
    create: CreateAccount
    list_accounts: ListAccounts
    show: ShowAccount
    amend: AmendAccount
    suspend: Suspend
    reactivate: Reactivate
    recover: RecoverAccount
    delete: DeleteAccount
    send_reset: SendReset
    set_roles: SetRoles
    list_sessions: ListSessionsOf
    end_sessions: EndSessionsOf
    end_every_session: EndEverySession
