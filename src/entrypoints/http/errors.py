"""Refusals as problem details (RFC 9457): one table of statuses, one shape for every error."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from ...domain import errors as domain
from ...domain.errors import GatepostError, Kind, ValidationFailed
from .client_address import client_of
from .oauth_errors import BASIC, oauth_answer, speaks_oauth
from .paths import path_within
from .validation import Fault, fault, faults_of, parameter_fault

PROBLEM_JSON = "application/problem+json"

STATUS: Mapping[Kind, HTTPStatus] = {
    Kind.INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.REJECTED: HTTPStatus.BAD_REQUEST,
    Kind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Kind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Kind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Kind.CONFLICT: HTTPStatus.CONFLICT,
    Kind.STALE: HTTPStatus.PRECONDITION_FAILED,
    Kind.THROTTLED: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One entry of the catalogue that clients and the pages under `/problems` share."""

    code: str
    status: int
    title: str
    explanation: str = ""

    @classmethod
    def of(cls, error: type[GatepostError]) -> "ProblemType":
        own_doc = error.__doc__ if error.__doc__ != GatepostError.__doc__ else None
        return cls(error.code, STATUS[error.kind], error.title, own_doc or "")


MALFORMED = ProblemType(
    "malformed_request",
    400,
    "The request cannot be read.",
    "The body must be one JSON text in UTF-8 without doubled names, NaN or infinities.",
)
METHOD_NOT_ALLOWED = ProblemType(
    "method_not_allowed",
    405,
    "This address has no such method.",
    "The Allow header lists those that it has.",
)
BODY_TOO_SLOW = ProblemType(
    "body_too_slow",
    408,
    "The body did not arrive in time.",
    "Within 15 seconds all of it must be there; the connection is closed.",
)
HEAD_TOO_SLOW = ProblemType(
    "head_too_slow",
    408,
    "The request did not arrive in time.",
    "Within 15 seconds all headers must be there; the connection is closed.",
)
HEAD_TOO_LARGE = ProblemType(
    "head_too_large",
    431,
    "The headers are too large.",
    "At most 32 KiB of request line and headers are read; the connection is closed.",
)
BODY_TOO_LARGE = ProblemType(
    "body_too_large", 413, "The body is too large.", "At most 64 KiB are read."
)
UNSUPPORTED_MEDIA_TYPE = ProblemType(
    "unsupported_media_type",
    415,
    "The body must be application/json.",
    "In UTF-8, and without a content encoding.",
)
PRECONDITION_REQUIRED = ProblemType(
    "precondition_required",
    428,
    "Say which version you mean.",
    "Send the ETag of what you read as If-Match, so that nobody's change is overwritten.",
)
INTERNAL_ERROR = ProblemType(
    "internal_error",
    500,
    "Something went wrong on our side.",
    "It was logged; the request id finds it.",
)

_OF_HTTP = (
    MALFORMED,
    METHOD_NOT_ALLOWED,
    HEAD_TOO_SLOW,
    BODY_TOO_SLOW,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    PRECONDITION_REQUIRED,
    HEAD_TOO_LARGE,
    INTERNAL_ERROR,
)


@cache
def catalogue() -> Mapping[str, ProblemType]:
    """List every problem by its code: those of the domain, then those of HTTP."""
    known = (value for value in vars(domain).values() if isinstance(value, type))
    refusals = (value for value in known if issubclass(value, GatepostError))
    types = [ProblemType.of(value) for value in refusals if value is not GatepostError]
    return {type_.code: type_ for type_ in (*types, *_OF_HTTP)}


class RequestRefused(Exception):
    """A refusal ready to be answered; raised for what only HTTP knows."""

    def __init__(
        self,
        type_: ProblemType,
        detail: str | None = None,
        *,
        faults: Iterable[Fault] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(type_.code)
        self.type = type_
        self.detail = detail or type_.title
        self.faults = tuple(faults)
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    @classmethod
    def because(
        cls,
        error: GatepostError,
        headers: Mapping[str, str] | None = None,
        *,
        has_body: bool = True,
    ) -> "RequestRefused":
        found = error.errors if isinstance(error, ValidationFailed) else ()
        place, start = (fault, "/") if has_body else (parameter_fault, "")
        return cls(
            ProblemType.of(type(error)),
            error.detail,
            faults=[place(f"{start}{each.field}", each.code, each.message) for each in found],
            headers={**headers_of(error), **(headers or {})},
            members=_members_of(error),
        )


def invalid(*faults: Fault) -> RequestRefused:
    return RequestRefused(ProblemType.of(ValidationFailed), faults=faults)


def headers_of(error: GatepostError) -> dict[str, str]:
    """Say in headers what clients act on: when to come again, and how to sign in."""
    if isinstance(error, domain.InvalidClient):
        return {"WWW-Authenticate": BASIC}
    if error.kind is Kind.UNAUTHENTICATED:
        # RFC 6750 section 3.1: no error code when no credentials came.
        bad_token = isinstance(error, domain.AccessTokenInvalid)
        return {"WWW-Authenticate": 'Bearer error="invalid_token"' if bad_token else "Bearer"}
    if isinstance(error, domain.InsufficientScope):
        challenge = f'Bearer error="insufficient_scope", scope="{error.scope}"'
        return {"WWW-Authenticate": challenge}
    if error.kind in (Kind.THROTTLED, Kind.UNAVAILABLE):
        return {"Retry-After": str(getattr(error, "retry_after", 1))}
    return {}


def _members_of(error: GatepostError) -> dict[str, str]:
    """Collect extension members (RFC 9457 section 3.2)."""
    if isinstance(error, domain.PasswordChangeRequired):
        return {"password_change_token": error.password_change_token}
    return {}


@dataclass(frozen=True, slots=True)
class Problems:
    """Answers refusals; `public_url` is the start of every problem's `type`."""

    public_url: str

    def answer(self, scope: Scope, refused: RequestRefused) -> Response:
        type_ = refused.type
        if speaks_oauth(path_within(scope), type_.code):
            return oauth_answer(type_.code, type_.status, refused.detail, refused.headers)
        body: dict[str, Any] = {
            "type": f"{self.public_url.rstrip('/')}/problems/{refused.type.code}",
            "title": refused.type.title,
            "status": int(refused.type.status),
            "detail": refused.detail,
            "instance": quote(scope["path"], safe="/:@!$&'()*+,;=", errors="replace"),
            "code": refused.type.code,
            "request_id": client_of(scope).request_id,
            **refused.members,
        }
        if refused.type.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            body["errors"] = refused.faults
        return Response(
            json.dumps(body).encode(),
            refused.type.status,
            headers=refused.headers,
            media_type=PROBLEM_JSON,
        )

    async def on_refused(self, request: Request, error: RequestRefused) -> Response:
        return self.answer(request.scope, error)

    async def on_domain_error(self, request: Request, error: GatepostError) -> Response:
        refused = RequestRefused.because(error, has_body=request.method != "GET")
        return self.answer(request.scope, refused)

    async def on_validation_error(
        self, request: Request, error: RequestValidationError
    ) -> Response:
        return self.answer(request.scope, invalid(*faults_of(error.errors())))

    async def on_http_exception(self, request: Request, error: HTTPException) -> Response:
        """Translate what the framework refuses by itself."""
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(sorted(_methods_at(request)))
            refused = RequestRefused(METHOD_NOT_ALLOWED, headers={"Allow": allowed})
        elif error.status_code == HTTPStatus.NOT_FOUND:
            refused = RequestRefused.because(domain.NotFound())
        elif error.status_code == BODY_TOO_LARGE.status:
            refused = RequestRefused(BODY_TOO_LARGE)
        else:
            refused = RequestRefused(MALFORMED)
        return self.answer(request.scope, refused)


def _methods_at(request: Request) -> set[str]:
    """Unite the methods of every route of this path; the framework names the first one's only."""
    found: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            found |= getattr(route, "methods", None) or {"GET"}
    # The layer makes one of the other.
    return found | {"HEAD"} if "GET" in found else found
