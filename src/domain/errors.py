"""The catalogue of refusals: a stable code for programs, a kind for entrypoints."""

from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

from .dataclasses import dataclass


class Kind(StrEnum):
    """What sort of refusal an error is; each entrypoint maps kinds, never single errors."""

    INVALID = "invalid"
    REJECTED = "rejected"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    STALE = "stale"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"


class GatepostError(Exception):
    """A refusal with a stable code; `detail` is safe to show to anybody."""

    kind: ClassVar[Kind]
    code: ClassVar[str]
    title: ClassVar[str]
    detail: str

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or self.title
        super().__init__(self.detail)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One rule that one field breaks; never holds the rejected value."""

    field: str
    code: str
    message: str


class ValidationFailed(GatepostError):
    kind = Kind.INVALID
    code = "validation_failed"
    title = "Some fields are not valid."

    def __init__(self, *errors: FieldError) -> None:
        super().__init__()
        self.errors = errors

    @classmethod
    def raise_for(cls, errors: Iterable[FieldError]) -> None:
        if found := tuple(errors):
            raise cls(*found)


class TokenInvalid(GatepostError):
    """Unknown, used, expired, replaced or of another kind: one answer for all."""

    kind = Kind.REJECTED
    code = "token_invalid"
    title = "The link is not valid any more."


class InvalidGrant(GatepostError):
    kind = Kind.REJECTED
    code = "invalid_grant"
    title = "The refresh token is not valid."


class InvalidScope(GatepostError):
    """Asked for at the token endpoint: nothing that is not held can be had."""

    kind = Kind.REJECTED
    code = "invalid_scope"
    title = "A scope was asked for that is not held."


class InvalidClient(GatepostError):
    """Unknown or disabled client, wrong or expired secret: one answer for all."""

    kind = Kind.UNAUTHENTICATED
    code = "invalid_client"
    title = "The client cannot be authenticated."


class Unauthenticated(GatepostError):
    kind = Kind.UNAUTHENTICATED
    code = "unauthenticated"
    title = "Sign in first."


class AccessTokenInvalid(GatepostError):
    kind = Kind.UNAUTHENTICATED
    code = "access_token_invalid"
    title = "The access token is not valid."


class InvalidCredentials(GatepostError):
    """Unknown login, wrong password or suspended account: never told apart."""

    kind = Kind.UNAUTHENTICATED
    code = "invalid_credentials"
    title = "Login or password is wrong."


class InsufficientScope(GatepostError):
    kind = Kind.FORBIDDEN
    code = "insufficient_scope"
    title = "The access token lacks a scope."

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs the scope {scope}.")
        self.scope = scope


class WrongPassword(GatepostError):
    kind = Kind.FORBIDDEN
    code = "wrong_password"
    title = "The password is wrong."


class EmailNotVerified(GatepostError):
    kind = Kind.FORBIDDEN
    code = "email_not_verified"
    title = "Confirm your e-mail address first."


class RegistrationClosed(GatepostError):
    kind = Kind.FORBIDDEN
    code = "registration_closed"
    title = "Registration is closed."


class NotFound(GatepostError):
    kind = Kind.NOT_FOUND
    code = "not_found"
    title = "There is no such thing here."


class UsernameTaken(GatepostError):
    kind = Kind.CONFLICT
    code = "username_taken"
    title = "This username is taken."


class EmailTaken(GatepostError):
    kind = Kind.CONFLICT
    code = "email_taken"
    title = "This e-mail address is taken."


class Overloaded(GatepostError):
    """The queue before the password hash is full."""

    kind = Kind.UNAVAILABLE
    code = "overloaded"
    title = "Too many sign-ins at once. Try again shortly."
    retry_after = 1


class Unavailable(GatepostError):
    """Storage cannot be reached, or a connection was lost and its outcome is in doubt."""

    kind = Kind.UNAVAILABLE
    code = "unavailable"
    title = "The service cannot answer now. Try again shortly."
    retry_after = 1


class OriginNotAllowed(GatepostError):
    """A call borne by a cookie needs an allowed Origin and `X-Requested-With: gatepost`."""

    kind = Kind.FORBIDDEN
    code = "origin_not_allowed"
    title = "This origin may not make this call."


class PermissionDenied(GatepostError):
    """The other account, or what should be granted, holds a scope that the caller lacks."""

    kind = Kind.FORBIDDEN
    code = "permission_denied"
    title = "You may not do this to this account."


class PasswordChangeRequired(GatepostError):
    """The right initial password: it opens no session, but can be changed with this token."""

    kind = Kind.FORBIDDEN
    code = "password_change_required"
    title = "Choose a password of your own first."

    def __init__(self, token: str) -> None:
        super().__init__()
        self.password_change_token = token


class LastAdmin(GatepostError):
    """Someone must be able to let others in again: the last active administrator stays."""

    kind = Kind.CONFLICT
    code = "last_admin"
    title = "This is the last active administrator."


class RoleInUse(GatepostError):
    kind = Kind.CONFLICT
    code = "role_in_use"
    title = "Accounts hold this role."


class RoleBuiltIn(GatepostError):
    kind = Kind.CONFLICT
    code = "role_built_in"
    title = "This role is built in."


class VersionConflict(GatepostError):
    kind = Kind.STALE
    code = "version_conflict"
    title = "It was changed since you read it."


class IdempotencyKeyReused(GatepostError):
    kind = Kind.INVALID
    code = "idempotency_key_reused"
    title = "This Idempotency-Key came with another request before."


class IdempotencyKeyInUse(GatepostError):
    kind = Kind.CONFLICT
    code = "idempotency_key_in_use"
    title = "A request with this Idempotency-Key is still running."


class RateLimited(GatepostError):
    kind = Kind.THROTTLED
    code = "rate_limited"
    title = "Too many requests. Try again later."

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after
