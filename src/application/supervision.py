"""What administrators do to single accounts: change, suspend, sign out, delete."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from ..domain.accounts import Account, AccountId, AccountStatus, changes
from ..domain.addresses import EmailAddress
from ..domain.audit import AuditType, ClientContext
from ..domain.credentials import Purpose
from ..domain.dataclasses import dataclass
from ..domain.errors import (
    LastAdmin,
    NotFound,
    PermissionDenied,
    ValidationFailed,
    VersionConflict,
)
from ..domain.limits import Rule
from ..domain.roles import ADMIN, USER, Principal, Scope
from ..domain.sessions import EndReason, Session
from .accounts import UNSET, Unset, amend
from .audit import Auditor
from .erasure import erase_account
from .limits import Limits
from .mail import Postbox
from .ports.delivery import MailTemplate
from .ports.security import Clock
from .ports.storage import Transaction, UnitOfWork
from .roles import refuse_grant, refuse_higher

# The values of `updated_at` that the caller has seen; None for any.
Versions = frozenset[datetime] | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A locked account, and who are the lasting administrators if that was asked for."""

    tx: Transaction
    account: Account
    admins: frozenset[AccountId]
    now: datetime

    def refuse_last_admin(self) -> None:
        if self.admins == {self.account.id}:
            raise LastAdmin

    async def save(self) -> None:
        self.account.touch(self.now)
        await self.tx.accounts.save(self.account)


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Opens an account for somebody else's change, and commits it.

    Raises NotFound, PermissionDenied for an account that holds a scope the actor lacks (audited,
    as is LastAdmin), VersionConflict.
    """

    uow: UnitOfWork
    auditor: Auditor
    now: Clock

    @asynccontextmanager
    async def opening(
        self,
        account_id: UUID,
        type_: AuditType,
        actor: Principal,
        client: ClientContext,
        *,
        versions: Versions = None,
        disempowers: bool = False,
    ) -> AsyncIterator[Opened]:
        """Lock the account; with `disempowers` the administrators first, so that one stays."""
        subject = AccountId(account_id)
        try:
            async with self.uow() as tx:
                admins = await tx.directory.lock_admins() if disempowers else frozenset()
                account = await tx.accounts.get(subject, lock=True)
                if account is None or account.is_placeholder:
                    raise NotFound
                await refuse_higher(tx, actor, account)
                if versions is not None and account.updated_at not in versions:
                    raise VersionConflict
                yield Opened(tx, account, admins, self.now())
                await tx.commit()
        except (PermissionDenied, LastAdmin) as refused:
            failure = refused.code
            await self.auditor.refused(
                type_, client, actor=actor, subject=subject, failure=failure
            )
            raise

    async def address_of(self, account_id: UUID) -> EmailAddress | None:
        """Look up where mail about an account goes: limits count outside of transactions."""
        async with self.uow() as tx:
            account = await tx.accounts.get(AccountId(account_id))
        return account.email if account else None

    async def note(
        self,
        opened: Opened,
        type_: AuditType,
        actor: Principal,
        client: ClientContext,
        *,
        reason: str | None = None,
        changed: Sequence[str] = (),
    ) -> None:
        await self.auditor.note(
            opened.tx,
            type_,
            opened.now,
            client,
            actor=actor,
            subject=opened.account.id,
            reason=reason,
            changed=changed,
        )


async def mail_link(tx: Transaction, postbox: Postbox, account: Account, now: datetime) -> None:
    """Mail what proves a new address: a password's first setting, or else a verification."""
    if account.password_hash is None:
        template, purpose = MailTemplate.SET_PASSWORD, Purpose.SET_PASSWORD
    else:
        template, purpose = MailTemplate.VERIFY_EMAIL, Purpose.VERIFY_EMAIL
    await postbox.send_token(tx, account, template, purpose, now)


@dataclass(frozen=True, slots=True)
class AmendAccount:
    """Change an account's username, address, bio or locale.

    A new address is unproven, both addresses are told, and links mailed before are void. With no
    mail left for the new one it is not told. Raises what Supervisor does, ValidationFailed,
    UsernameTaken, EmailTaken.
    """

    supervisor: Supervisor
    limits: Limits
    postbox: Postbox

    async def __call__(
        self,
        *,
        actor: Principal,
        account_id: UUID,
        versions: Versions,
        username: str | Unset = UNSET,
        email: str | Unset = UNSET,
        bio: str | Unset | None = UNSET,
        locale: str | Unset = UNSET,
        client: ClientContext,
    ) -> Account:
        actor.require(Scope.USERS_WRITE)
        type_, has_mail = AuditType.ACCOUNT_CHANGED, await self._has_mail(account_id, email)
        async with self.supervisor.opening(
            account_id, type_, actor, client, versions=versions
        ) as opened:
            account, before = opened.account, replace(opened.account)
            amend(account, username=username, email=email, bio=bio, locale=locale)
            await opened.save()
            changed = changes(before, account)
            await self.supervisor.note(opened, type_, actor, client, changed=changed)
            if account.email != before.email:
                await self._tell(opened, before.email, has_mail)
                await self.supervisor.note(opened, AuditType.EMAIL_CHANGED, actor, client)
        return account

    async def _has_mail(self, account_id: UUID, email: str | Unset) -> bool:
        with suppress(ValidationFailed):
            new = None if email is UNSET else EmailAddress.parse(email)
            if new is not None and new != await self.supervisor.address_of(account_id):
                return await self.limits.try_to_spend(Rule.MAIL, new.key) is not None
        return False

    async def _tell(self, opened: Opened, former: EmailAddress, has_mail: bool) -> None:
        tx, account, now = opened.tx, opened.account, opened.now
        await tx.tokens.drop_all(account.id)
        await self.postbox.notify(tx, account, MailTemplate.EMAIL_CHANGED, now, to=former)
        if has_mail:
            await mail_link(tx, self.postbox, account, now)


@dataclass(frozen=True, slots=True)
class Suspend:
    """Keep an account out, and end its sessions; again is no error.

    Raises what Supervisor does, LastAdmin.
    """

    supervisor: Supervisor

    async def __call__(
        self, *, actor: Principal, account_id: UUID, client: ClientContext
    ) -> Account:
        actor.require(Scope.USERS_WRITE)
        type_ = AuditType.ACCOUNT_SUSPENDED
        async with self.supervisor.opening(
            account_id, type_, actor, client, disempowers=True
        ) as opened:
            account = opened.account
            if account.status is not AccountStatus.SUSPENDED:
                opened.refuse_last_admin()
                account.status = AccountStatus.SUSPENDED
                await opened.save()
                await opened.tx.sessions.end_all(account.id, EndReason.SUSPENDED, opened.now)
                await self.supervisor.note(opened, type_, actor, client)
        return account


@dataclass(frozen=True, slots=True)
class Reactivate:
    """Let a suspended account in again; again is no error. Raises what Supervisor does."""

    supervisor: Supervisor

    async def __call__(
        self, *, actor: Principal, account_id: UUID, client: ClientContext
    ) -> Account:
        actor.require(Scope.USERS_WRITE)
        type_ = AuditType.ACCOUNT_REACTIVATED
        async with self.supervisor.opening(account_id, type_, actor, client) as opened:
            account = opened.account
            if account.status is not AccountStatus.ACTIVE:
                account.status = AccountStatus.ACTIVE
                await opened.save()
                await self.supervisor.note(opened, type_, actor, client)
        return account


@dataclass(frozen=True, slots=True)
class DeleteAccount:
    """Delete somebody's account, at once and for good. Raises what Supervisor does, LastAdmin."""

    supervisor: Supervisor
    postbox: Postbox

    async def __call__(
        self, *, actor: Principal, account_id: UUID, versions: Versions, client: ClientContext
    ) -> None:
        actor.require(Scope.USERS_WRITE)
        type_ = AuditType.ACCOUNT_DELETED
        async with self.supervisor.opening(
            account_id, type_, actor, client, versions=versions, disempowers=True
        ) as opened:
            opened.refuse_last_admin()
            await erase_account(opened.tx, self.postbox, opened.account, opened.now)
            # Afterwards: where this came from is the administrator's, and is kept.
            await self.supervisor.note(opened, type_, actor, client)


@dataclass(frozen=True, slots=True)
class SendReset:
    """Mail the owner a link to set a password; nobody sets another's (OWASP ASVS 6.4.6).

    With no mail left for the address nothing is sent. Raises what Supervisor does.
    """

    supervisor: Supervisor
    limits: Limits
    postbox: Postbox

    async def __call__(self, *, actor: Principal, account_id: UUID, client: ClientContext) -> None:
        actor.require(Scope.USERS_WRITE)
        address = await self.supervisor.address_of(account_id)
        has_mail = address and await self.limits.try_to_spend(Rule.MAIL, address.key)
        type_ = AuditType.PASSWORD_RESET_REQUESTED
        async with self.supervisor.opening(account_id, type_, actor, client) as opened:
            if not has_mail:
                return
            template, purpose = MailTemplate.RESET_PASSWORD, Purpose.RESET_PASSWORD
            await self.postbox.send_token(opened.tx, opened.account, template, purpose, opened.now)
            await self.supervisor.note(opened, type_, actor, client)


@dataclass(frozen=True, slots=True)
class SetRoles:
    """Replace the roles of an account; tokens follow at the next refresh.

    Raises what Supervisor does, LastAdmin, ValidationFailed, PermissionDenied for a role that
    holds more than the actor.
    """

    supervisor: Supervisor

    async def __call__(
        self,
        *,
        actor: Principal,
        account_id: UUID,
        roles: Sequence[str],
        versions: Versions = None,
        client: ClientContext,
    ) -> Account:
        actor.require(Scope.ROLES_WRITE)
        named, type_ = named_roles(roles), AuditType.ROLES_CHANGED
        async with self.supervisor.opening(
            account_id, type_, actor, client, versions=versions, disempowers=True
        ) as opened:
            account = opened.account
            await refuse_grant(opened.tx, actor, named)
            if ADMIN not in named:
                opened.refuse_last_admin()
            if account.roles != named:
                account.roles = named
                await opened.save()
                await self.supervisor.note(opened, type_, actor, client)
        return account


def named_roles(roles: Sequence[str]) -> tuple[str, ...]:
    """List what is stored of roles asked for: `user` goes without saying."""
    return tuple(sorted(set(roles) - {USER}))


@dataclass(frozen=True, slots=True)
class ListSessionsOf:
    """List somebody's live sessions, newest first; raises NotFound."""

    uow: UnitOfWork
    now: Clock

    async def __call__(self, *, actor: Principal, account_id: UUID) -> Sequence[Session]:
        actor.require(Scope.SESSIONS_READ)
        async with self.uow() as tx:
            account = await tx.accounts.get(AccountId(account_id))
            if account is None or account.is_placeholder:
                raise NotFound
            return await tx.sessions.list_live(account.id, self.now())


@dataclass(frozen=True, slots=True)
class EndSessionsOf:
    """Sign somebody out everywhere. Raises what Supervisor does."""

    supervisor: Supervisor

    async def __call__(self, *, actor: Principal, account_id: UUID, client: ClientContext) -> None:
        actor.require(Scope.SESSIONS_WRITE)
        type_, why = AuditType.SESSIONS_ENDED, EndReason.ENDED_BY_ADMINISTRATOR
        async with self.supervisor.opening(account_id, type_, actor, client) as opened:
            await opened.tx.sessions.end_all(opened.account.id, why, opened.now)
            await self.supervisor.note(opened, type_, actor, client, reason=why)
