"""Roles: what they let accounts do, and who may change that."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ..domain.accounts import Account
from ..domain.audit import AuditType, ClientContext
from ..domain.dataclasses import dataclass
from ..domain.errors import (
    FieldError,
    NotFound,
    PermissionDenied,
    RoleBuiltIn,
    ValidationFailed,
)
from ..domain.roles import (
    BUILT_IN_ROLES,
    Principal,
    Role,
    Scope,
    built_in_roles,
    names_of_own,
    parse_role_name,
    parse_scopes,
    scopes_of,
)
from .audit import Auditor
from .ports.security import Clock
from .ports.storage import Transaction, UnitOfWork


async def own_roles(tx: Transaction, named: tuple[str, ...]) -> Sequence[Role]:
    """Read those that are not built in; most accounts have none, and cost nothing."""
    names = names_of_own(named)
    return await tx.roles.find(names) if names else ()


async def refuse_higher(tx: Transaction, actor: Principal, account: Account) -> None:
    """Refuse to act on an account that holds a scope the actor lacks; raises PermissionDenied.

    Who could change its address or reset its password could become it.
    """
    if not actor.holds(scopes_of(account.roles, await own_roles(tx, account.roles))):
        raise PermissionDenied


async def refuse_grant(tx: Transaction, actor: Principal, named: Sequence[str]) -> None:
    """Refuse to give what the actor does not hold, and hold the roles until they are given.

    Raises ValidationFailed for an unknown role, PermissionDenied.
    """
    own = names_of_own(named)
    found = await tx.roles.find(own, lock=True) if own else ()
    if len(found) < len(own):
        raise ValidationFailed(FieldError("roles", "unknown_role", "There is no such role."))
    if not actor.holds(scopes_of(tuple(named), found)):
        raise PermissionDenied("You may not grant what you do not hold.")


@dataclass(frozen=True, slots=True)
class ListRoles:
    """List every role by name, built-in ones too."""

    uow: UnitOfWork

    async def __call__(self, *, actor: Principal) -> Sequence[Role]:
        actor.require(Scope.ROLES_READ)
        async with self.uow() as tx:
            own = await tx.roles.list_all()
        return sorted([*built_in_roles(), *own], key=lambda role: role.name)


@dataclass(frozen=True, slots=True)
class RoleKeeper:
    """Opens a role for a change, and commits it.

    Raises PermissionDenied, which is audited, when the role had or gets a scope that the actor
    lacks: taking power from those above him is no smaller thing than giving it.
    """

    uow: UnitOfWork
    auditor: Auditor
    now: Clock

    @asynccontextmanager
    async def opening(
        self,
        name: str,
        type_: AuditType,
        actor: Principal,
        client: ClientContext,
        *,
        gets: frozenset[Scope] = frozenset(),
    ) -> AsyncIterator[Transaction]:
        try:
            async with self.uow() as tx:
                had = await tx.roles.find([name], lock=True)
                if not actor.holds(gets.union(*(role.scopes for role in had))):
                    raise PermissionDenied("You may not handle scopes that you do not hold.")
                yield tx
                await self.auditor.note(tx, type_, self.now(), client, actor=actor, reason=name)
                await tx.commit()
        except PermissionDenied as refused:
            failure = refused.code
            await self.auditor.refused(type_, client, actor=actor, subject=None, failure=failure)
            raise


@dataclass(frozen=True, slots=True)
class PutRole:
    """Make a role, or give one other scopes; tells whether it is new.

    Tokens follow at the next refresh. Raises RoleBuiltIn, ValidationFailed, PermissionDenied.
    """

    keeper: RoleKeeper

    async def __call__(
        self, *, actor: Principal, name: str, scopes: Sequence[str], client: ClientContext
    ) -> tuple[Role, bool]:
        actor.require(Scope.ROLES_WRITE)
        role = Role(name=parse_role_name(name), scopes=parse_scopes(scopes))
        if role.is_built_in:
            raise RoleBuiltIn
        type_ = AuditType.ROLE_CHANGED
        async with self.keeper.opening(name, type_, actor, client, gets=role.scopes) as tx:
            is_new = await tx.roles.put(role, self.keeper.now())
        return role, is_new


@dataclass(frozen=True, slots=True)
class DeleteRole:
    """Delete a role that nobody holds.

    Raises RoleBuiltIn, NotFound, RoleInUse, PermissionDenied.
    """

    keeper: RoleKeeper

    async def __call__(self, *, actor: Principal, name: str, client: ClientContext) -> None:
        actor.require(Scope.ROLES_WRITE)
        if name in BUILT_IN_ROLES:
            raise RoleBuiltIn
        async with self.keeper.opening(name, AuditType.ROLE_DELETED, actor, client) as tx:
            if not await tx.roles.delete(name):
                raise NotFound


@dataclass(frozen=True, slots=True)
class Roles:
    """What roles there are."""

    list_all: ListRoles
    put: PutRole
    delete: DeleteRole
