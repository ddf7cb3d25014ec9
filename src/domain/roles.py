"""Scopes, the built-in roles, and who is asking."""

import re
from collections.abc import Iterable
from enum import StrEnum
from uuid import UUID

from .accounts import Account, AccountId, AccountStatus
from .clients import Client, ClientId
from .dataclasses import dataclass
from .errors import FieldError, InsufficientScope, Unauthenticated, ValidationFailed
from .sessions import SessionId


class Scope(StrEnum):
    ACCOUNT_READ = "account:read"
    ACCOUNT_WRITE = "account:write"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    ROLES_READ = "roles:read"
    ROLES_WRITE = "roles:write"
    SESSIONS_READ = "sessions:read"
    SESSIONS_WRITE = "sessions:write"
    AUDIT_READ = "audit:read"
    CLIENTS_READ = "clients:read"
    CLIENTS_WRITE = "clients:write"
    TOKENS_INTROSPECT = "tokens:introspect"


ADMIN = "admin"
USER = "user"

BUILT_IN_ROLES: dict[str, frozenset[Scope]] = {
    USER: frozenset({Scope.ACCOUNT_READ, Scope.ACCOUNT_WRITE}),
    ADMIN: frozenset(Scope),
}


def roles_held(named: tuple[str, ...]) -> tuple[str, ...]:
    """List the roles of an account: `user`, which everybody holds, and those named."""
    return tuple(sorted({USER, *named}))


_ROLE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,49}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A named set of scopes."""

    name: str
    scopes: frozenset[Scope]

    @property
    def is_built_in(self) -> bool:
        return self.name in BUILT_IN_ROLES


def built_in_roles() -> list[Role]:
    return [Role(name=name, scopes=scopes) for name, scopes in BUILT_IN_ROLES.items()]


def parse_role_name(text: str) -> str:
    if not _ROLE_NAME.fullmatch(text):
        message = "A lower-case letter, then up to 49 letters, digits, underscores or hyphens."
        raise ValidationFailed(FieldError("name", "invalid_role_name", message))
    return text


def parse_scopes(names: Iterable[str]) -> frozenset[Scope]:
    try:
        return frozenset(Scope(name) for name in names)
    except ValueError:
        raise ValidationFailed(
            FieldError("scopes", "unknown_scope", "Only scopes that this service knows.")
        ) from None


def is_lasting_admin(account: Account) -> bool:
    """Tell whether the account can let others in, and is not about to expire unproven."""
    lasting = account.status is AccountStatus.ACTIVE and account.expires_at is None
    return lasting and ADMIN in account.roles


def names_of_own(named: Iterable[str]) -> list[str]:
    """Pick those of the names that no built-in role bears, sorted."""
    return sorted(set(named) - set(BUILT_IN_ROLES))


def scopes_of(named: tuple[str, ...], own: Iterable[Role] = ()) -> tuple[Scope, ...]:
    """Unite the scopes of an account's roles, sorted; a name without a role gives nothing."""
    known = BUILT_IN_ROLES | {role.name: role.scopes for role in own}
    held = (known.get(role, frozenset()) for role in roles_held(named))
    return tuple(sorted({scope for scopes in held for scope in scopes}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is asking, and what his token (or his place at the console) lets him do.

    `account` is the caller's account as it was read when his token was checked.
    """

    account: Account | None
    session_id: SessionId | None
    client_id: ClientId | None = None
    scopes: frozenset[str]

    def require(self, scope: Scope) -> None:
        """Refuse a caller whose token lacks the scope; raises InsufficientScope."""
        if scope not in self.scopes:
            raise InsufficientScope(scope)

    def holds(self, scopes: Iterable[str]) -> bool:
        """Tell whether none of the scopes is beyond the caller.

        What everybody has by the role `user` counts as held, also where the token is narrowed.
        """
        return set(scopes) <= self.scopes | BUILT_IN_ROLES[USER]

    @property
    def actor_id(self) -> UUID | None:
        """Return who stands in the audit trail for what is done: an account or a client."""
        return self.client_id or self.account_id

    @property
    def account_id(self) -> AccountId | None:
        return self.account.id if self.account else None

    @property
    def own_account(self) -> Account:
        """Return the caller's account; raises Unauthenticated for a caller without one."""
        if self.account is None:
            raise Unauthenticated
        return self.account

    @classmethod
    def machine(cls, client: Client) -> "Principal":
        """Stand for a machine client that has shown its secret."""
        scopes = frozenset(client.scopes)
        return cls(account=None, session_id=None, client_id=client.id, scopes=scopes)

    @classmethod
    def operator(cls) -> "Principal":
        """Stand for whoever can run commands on the machine: no account, every scope."""
        return cls(account=None, session_id=None, scopes=frozenset(Scope))
