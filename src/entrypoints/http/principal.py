"""Who is calling: checked before anything in the request is read."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any, get_args

from fastapi import Depends, Security
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.models import HTTPBearer
from fastapi.params import Security as SecurityParam
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from ...application.tokens import Authenticate
from ...domain.audit import ClientContext
from ...domain.errors import AccessTokenInvalid, Unauthenticated
from ...domain.roles import Principal, Scope
from .client_address import CLIENT_KEY, client_of
from .idempotency import Repeatable, keyed_request
from .json_body import JsonRequest, read_json, refuse_body
from .openapi import BODY, problems
from .routing import DirectRoute, Handler

PRINCIPAL_KEY = "gatepost.principal"

_Find = Callable[[Request, bytes], Any]


class _Bearer(SecurityBase):
    """The padlock of the documentation; at run time it only hands over what the route checked."""

    def __init__(self) -> None:
        self.model = HTTPBearer(
            bearerFormat="JWT",
            description="An access token from `POST /v1/sessions`.",
        )
        self.scheme_name = "bearer"

    async def __call__(self, request: Request) -> Principal:
        principal: Principal = request.scope[PRINCIPAL_KEY]
        return principal


_bearer = _Bearer()


async def _client(request: Request) -> ClientContext:
    return client_of(request.scope)


Reader = Annotated[Principal, Security(_bearer, scopes=[Scope.ACCOUNT_READ])]
Writer = Annotated[Principal, Security(_bearer, scopes=[Scope.ACCOUNT_WRITE])]
UsersReader = Annotated[Principal, Security(_bearer, scopes=[Scope.USERS_READ])]
UsersWriter = Annotated[Principal, Security(_bearer, scopes=[Scope.USERS_WRITE])]
RolesReader = Annotated[Principal, Security(_bearer, scopes=[Scope.ROLES_READ])]
RolesWriter = Annotated[Principal, Security(_bearer, scopes=[Scope.ROLES_WRITE])]
SessionsReader = Annotated[Principal, Security(_bearer, scopes=[Scope.SESSIONS_READ])]
SessionsWriter = Annotated[Principal, Security(_bearer, scopes=[Scope.SESSIONS_WRITE])]
AuditReader = Annotated[Principal, Security(_bearer, scopes=[Scope.AUDIT_READ])]
ClientsReader = Annotated[Principal, Security(_bearer, scopes=[Scope.CLIENTS_READ])]
ClientsWriter = Annotated[Principal, Security(_bearer, scopes=[Scope.CLIENTS_WRITE])]
Client = Annotated[ClientContext, Depends(_client)]
# Of what anybody may have us hash: while that would be in vain nothing of the request is read.
HashingClient = Annotated[ClientContext, Depends(_client), "hashes"]


def bearer_token(request: HTTPConnection) -> str:
    """Take the token from the Authorization header, the only place where one counts.

    Raises Unauthenticated when there is none, AccessTokenInvalid when there are two.
    """
    sent = [value for name, value in request.scope["headers"] if name == b"authorization"]
    if len(sent) > 1:
        raise AccessTokenInvalid
    scheme, _, token = (sent[0] if sent else b"").partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        raise Unauthenticated
    return token.decode("latin-1")


class _BodilessRoute(DirectRoute):
    """Documents what may be wrong with a body, where there is to be none."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if options.get("status_code") == HTTPStatus.NO_CONTENT:
            # The framework's own would name the type of a body that is not there.
            options["response_class"] = Response
        super().__init__(path, endpoint, **options)
        if self.is_bodiless:
            self.responses = {**problems(BODY), **self.responses}

    @property
    def is_bodiless(self) -> bool:
        return self.body_field is None and self.methods != {"GET"}


def guarded(authenticate: Authenticate, demand_room: Callable[[], None]) -> type[APIRoute]:
    """Make the class of routes that check the caller, then the body, then all else.

    The framework reads the body first, which would tell strangers what is wrong with theirs.
    `demand_room` raises Overloaded for those that hash.
    """

    class GuardedRoute(_BodilessRoute):
        def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
            super().__init__(path, endpoint, **options)
            if _needs_only_caller(endpoint) or _form_of(endpoint) is not None:
                self.answer_by(self.get_route_handler())

        def get_route_handler(self) -> Handler:
            inner, scopes = super().get_route_handler(), _scopes_needed(self.endpoint)
            if self.body_field is not None:
                required = self.body_field.field_info.is_required()
                if (form := _form_of(self.endpoint)) is not None:
                    inner = _filling(self.endpoint, *form, required=required)
                else:
                    inner = _reading_json(inner, required=required)
            elif _needs_only_caller(self.endpoint):
                inner = _straight(self.endpoint)
            if _hashes_for_anybody(self.endpoint):
                inner = _demanding(demand_room, inner)
            inner = _refusing_body(inner) if self.is_bodiless else inner
            return inner if scopes is None else _checking(authenticate, scopes, inner)

    return GuardedRoute


def _checking(authenticate: Authenticate, scopes: tuple[Scope, ...], inner: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        principal = await authenticate(access_token=bearer_token(request))
        for scope in scopes:
            principal.require(scope)
        request.scope[PRINCIPAL_KEY] = principal
        if principal.client_id is not None:
            client = replace(client_of(request.scope), client_id=str(principal.client_id))
            request.scope[CLIENT_KEY] = client
        return await inner(request)

    return handle


def _demanding(demand_room: Callable[[], None], inner: Handler) -> Handler:
    """Refuse a flood at a fraction of what reading costs: that time is the hashes' of others."""

    async def handle(request: Request) -> Response:
        demand_room()
        return await inner(request)

    return handle


def _reading_json(inner: Handler, *, required: bool) -> Handler:
    async def handle(request: Request) -> Response:
        return await inner(JsonRequest(request, *await read_json(request, required=required)))

    return handle


def _refusing_body(inner: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        await refuse_body(request)
        return await inner(request)

    return handle


def _straight(endpoint: Callable[..., Any]) -> Handler:
    """Call an endpoint that needs nothing but its caller: a third less work on hot routes."""

    async def handle(request: Request) -> Response:
        answer: Response = await endpoint(request.scope[PRINCIPAL_KEY])
        return answer

    return handle


def _filling(
    endpoint: Callable[..., Any],
    name: str,
    validate: Callable[[Any], BaseModel | None],
    *,
    required: bool,
) -> Handler:
    """Call an endpoint with its form: hot routes need nothing else of the framework."""
    others = {
        other: find
        for other, parameter in inspect.signature(endpoint).parameters.items()
        if (find := _finder_of(parameter.annotation)) is not None
    }

    async def handle(request: Request) -> Response:
        raw, parsed = await read_json(request, required=required)
        # All of a request's faults are told at once.
        faults, given = list[Any](), dict[str, Any]()
        for other, find in others.items():
            try:
                given[other] = find(request, raw)
            except RequestValidationError as refused:
                faults += refused.errors()
        try:
            given[name] = validate(parsed)
        except ValidationError as refused:
            faults += _in_body(refused)
        if faults:
            raise RequestValidationError(faults)
        answer: Response = await endpoint(**given)
        return answer

    return handle


def _in_body(refused: ValidationError) -> list[Any]:
    return [{**each, "loc": ("body", *each["loc"])} for each in refused.errors(include_url=False)]


# What an endpoint may take beside its form without the framework's dependencies.
_FOUND: tuple[tuple[Any, _Find], ...] = (
    (Request, lambda request, _: request),
    (Client, lambda request, _: client_of(request.scope)),
    (HashingClient, lambda request, _: client_of(request.scope)),
    (Repeatable, keyed_request),
)


def _finder_of(annotation: Any) -> _Find | None:
    # By identity: not every annotation can be hashed.
    return next((find for known, find in _FOUND if known is annotation), None)


def _form_of(
    endpoint: Callable[..., Any],
) -> tuple[str, Callable[[Any], BaseModel | None]] | None:
    """Find the form of an endpoint that takes nothing else but what is in `_FOUND`."""
    signature = inspect.signature(endpoint)
    rest = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if _finder_of(parameter.annotation) is None
    }
    if signature.return_annotation is not Response or len(rest) != 1:
        return None
    ((name, annotation),) = rest.items()
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
    if len(kinds) != 1 or not isinstance(kinds[0], type) or not issubclass(kinds[0], BaseModel):
        return None
    return name, TypeAdapter(annotation).validate_python


def _scopes_needed(endpoint: Callable[..., Any]) -> tuple[Scope, ...] | None:
    """Read the scopes off the declared caller; None for an endpoint without one."""
    for parameter in inspect.signature(endpoint).parameters.values():
        for mark in get_args(parameter.annotation):
            if isinstance(mark, SecurityParam) and mark.dependency is _bearer:
                return tuple(Scope(scope) for scope in mark.scopes or ())
    return None


def _hashes_for_anybody(endpoint: Callable[..., Any]) -> bool:
    parameters = inspect.signature(endpoint).parameters.values()
    return any(parameter.annotation == HashingClient for parameter in parameters)


def _needs_only_caller(endpoint: Callable[..., Any]) -> bool:
    signature = inspect.signature(endpoint)
    answers_itself = signature.return_annotation is Response
    return (
        answers_itself and len(signature.parameters) == 1 and _scopes_needed(endpoint) is not None
    )
