"""Scopes, the built-in roles, and who is asking."""

from dataclasses import dataclass
from enum import StrEnum

from .accounts import Account, AccountId
from .errors import InsufficientScope, Unauthenticated
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


def scopes_of(named: tuple[str, ...]) -> tuple[str, ...]:
    """Unite the scopes of an account's roles, sorted."""
    held = (BUILT_IN_ROLES.get(role, frozenset()) for role in roles_held(named))
    return tuple(sorted({scope for scopes in held for scope in scopes}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is asking, and what his token (or his place at the console) lets him do.

    `account` is the caller's account as it was read when his token was checked.
    """

    account: Account | None
    session_id: SessionId | None
    scopes: frozenset[str]

    def require(self, scope: Scope) -> None:
        """Refuse a caller whose token lacks the scope; raises InsufficientScope."""
        if scope not in self.scopes:
            raise InsufficientScope(scope)

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
    def operator(cls) -> "Principal":
        """Stand for whoever can run commands on the machine: no account, every scope."""
        return cls(account=None, session_id=None, scopes=frozenset(Scope))
