"""The application: routes over use cases, inside one layer."""

from collections.abc import Iterator
from dataclasses import replace

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ...application.gatepost import Gatepost
from ...application.policies import Policies
from ...domain.errors import GatepostError
from ...domain.idempotency import AlreadyAnswered
from . import (
    accounts,
    administration,
    audit,
    clients,
    credentials,
    docs,
    exports,
    oauth,
    oauth_metadata,
    operations,
    pages,
    problem_pages,
    roles,
    sessions,
    well_known,
)
from .cookies import DeviceCookie, RefreshCookie
from .errors import Problems, RequestRefused
from .idempotency import on_already_answered
from .middleware import Layer
from .openapi import Application
from .options import HttpOptions, Routes, Unmeasured, unlogged
from .paths import location
from .principal import guarded
from .routing import RouteIndex, Shortcut

__all__ = ["HttpOptions", "Routes", "create_app", "create_management_app"]

_DEFAULTS = HttpOptions()


def create_app(gatepost: Gatepost, options: HttpOptions = _DEFAULTS) -> Application:
    """Make the ASGI application; whoever calls opens and closes `gatepost`.

    Under a prefix of another application `options.public_url` must end in that prefix. Raises
    ValueError where options and policies name different addresses, for links, tokens and metadata
    would lead to both.
    """
    _refuse_two_addresses(gatepost.policies, options)
    app = _application(options)
    if options.password_grant:
        app.token_url = location(options.public_url, "/oauth2/token")
    for group, router in _routers(gatepost, options):
        if group is None or group in options.routes:
            # Flat instead of included: an included router is searched twice for every request.
            app.router.routes.extend(router.routes)
    if options.has_own_pages and Routes.PAGES in options.routes:
        app.router.routes.extend(pages.routes(gatepost))
    app.router.routes.extend(operations.metrics_routes(options))
    index = RouteIndex(app.routes)
    app.router.routes.insert(0, index)
    app.add_middleware(Shortcut, index=index, refusals=app.exception_handlers)
    return _within_layer(app, options)


def _refuse_two_addresses(policies: Policies, options: HttpOptions) -> None:
    for option, given, policy, expected in (
        ("public_url", options.public_url, "tokens.issuer", policies.tokens.issuer),
        ("frontend_url", options.frontend_url, "mail.frontend_url", policies.mail.frontend_url),
    ):
        if given != expected:
            raise ValueError(
                f"HttpOptions.{option} is {given!r}, but Policies.{policy} {expected!r}: they are"
                " one address."
            )


def create_management_app(gatepost: Gatepost, options: HttpOptions) -> Application:
    """Make the application for operators alone: metrics, and health with its checks."""
    own = replace(
        options,
        docs=False,
        health_checks=True,
        requests=Unmeasured(),
        log=unlogged,
        cors_origins=(),
    )
    app = _application(own)
    app.router.routes.extend(operations.router(gatepost.checks, own).routes)
    app.router.routes.extend(operations.metrics_routes(own))
    return _within_layer(app, own)


def _application(options: HttpOptions) -> Application:
    problems = Problems(options.public_url)
    return Application(
        title="Gatepost",
        summary="Accounts, sessions and tokens.",
        version=options.version,
        openapi_url="/openapi.json" if options.docs else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Its own traces would hold query strings, and the messages of exceptions.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        exception_handlers={
            AlreadyAnswered: on_already_answered,
            RequestRefused: problems.on_refused,
            GatepostError: problems.on_domain_error,
            RequestValidationError: problems.on_validation_error,
            HTTPException: problems.on_http_exception,
        },
    )


def _within_layer(app: Application, options: HttpOptions) -> Application:
    app.add_middleware(Layer, options=options, problems=Problems(options.public_url))
    return app


def _routers(
    gatepost: Gatepost, options: HttpOptions
) -> Iterator[tuple[Routes | None, APIRouter]]:
    route = guarded(gatepost.sessions.authenticate, gatepost.demand_room)
    public_url = options.public_url
    idempotency, keys = gatepost.idempotency, gatepost.keys
    yield Routes.ACCOUNT, accounts.own_account_router(gatepost.accounts, route)
    yield Routes.EXPORTS, exports.router(gatepost.exports, idempotency, route, public_url)
    refresh_cookie, device_cookie = RefreshCookie.of(options), DeviceCookie.of(options)
    yield (
        Routes.SESSIONS,
        sessions.router(gatepost.sessions, route, refresh_cookie, device_cookie),
    )
    yield Routes.REGISTRATION, accounts.registration_router(gatepost.accounts, idempotency, route)
    yield Routes.CREDENTIALS, credentials.router(gatepost.credentials, route)
    for router in administration.routers(gatepost, route, public_url):
        yield Routes.ADMINISTRATION, router
    yield Routes.ROLES, roles.router(gatepost.roles, route)
    yield Routes.AUDIT, audit.router(gatepost.audit, route, public_url)
    yield Routes.CLIENTS, clients.router(gatepost.clients, route, public_url)
    yield from _oauth(gatepost, options)
    cached = gatepost.policies.keys.cache
    yield Routes.WELL_KNOWN, well_known.router(keys, cached, options.frontend_url)
    yield Routes.OPERATIONS, operations.router(gatepost.checks, options)
    yield None, problem_pages.router()
    if options.docs:
        yield None, docs.router()


def _oauth(gatepost: Gatepost, options: HttpOptions) -> Iterator[tuple[Routes, APIRouter]]:
    issuer, password_grant = gatepost.policies.tokens.issuer, options.password_grant
    yield Routes.OAUTH, oauth.router(gatepost, password_grant=password_grant)
    yield (
        Routes.OAUTH,
        oauth_metadata.router(issuer, password_grant=password_grant, docs=options.docs),
    )
