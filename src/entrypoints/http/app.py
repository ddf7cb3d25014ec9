"""The application: routes over use cases, inside one layer."""

from collections.abc import Iterator
from dataclasses import replace

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ...application.gatepost import Gatepost
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
from .options import HttpOptions, Unmeasured
from .principal import guarded
from .routing import RouteIndex

__all__ = ["HttpOptions", "create_app", "create_management_app"]

_DEFAULTS = HttpOptions()


def create_app(gatepost: Gatepost, options: HttpOptions = _DEFAULTS) -> Application:
    """Make the ASGI application; whoever calls opens and closes `gatepost`."""
    app = _application(options)
    if options.password_grant:
        app.token_url = "/oauth2/token"  # noqa: S105
    for router in _routers(gatepost, options):
        # Flat instead of included: an included router is searched twice for every request.
        app.router.routes.extend(router.routes)
    if options.has_own_pages:
        app.router.routes.extend(pages.routes(gatepost))
    app.router.routes.extend(operations.metrics_routes(options))
    app.router.routes.insert(0, RouteIndex(app.routes))
    return app


def create_management_app(gatepost: Gatepost, options: HttpOptions) -> Application:
    """Make the application for operators alone: metrics, and health with its checks."""
    own = replace(options, docs=False, health_checks=True, requests=Unmeasured(), cors_origins=())
    app = _application(own)
    app.router.routes.extend(operations.router(gatepost.checks, own).routes)
    app.router.routes.extend(operations.metrics_routes(own))
    return app


def _application(options: HttpOptions) -> Application:
    problems = Problems(options.public_url)
    app = Application(
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
    app.add_middleware(Layer, options=options, problems=problems)
    return app


def _routers(gatepost: Gatepost, options: HttpOptions) -> Iterator[APIRouter]:
    route = guarded(gatepost.sessions.authenticate)
    yield accounts.own_account_router(gatepost.accounts, route)
    yield exports.router(gatepost.exports, gatepost.idempotency, route, options.public_url)
    refresh_cookie, device_cookie = RefreshCookie.of(options), DeviceCookie.of(options)
    yield sessions.router(gatepost.sessions, route, refresh_cookie, device_cookie)
    yield accounts.registration_router(gatepost.accounts, gatepost.idempotency, route)
    yield credentials.router(gatepost.credentials, route)
    yield from administration.routers(gatepost, route, options.public_url)
    yield roles.router(gatepost.roles, route)
    yield audit.router(gatepost.audit, route, options.public_url)
    yield clients.router(gatepost.clients, route, options.public_url)
    yield oauth.router(gatepost, password_grant=options.password_grant)
    yield oauth_metadata.router(
        gatepost.policies.tokens.issuer, password_grant=options.password_grant, docs=options.docs
    )
    cached = gatepost.policies.keys.cache
    yield well_known.router(gatepost.keys, cached, options.frontend_url)
    yield operations.router(gatepost.checks, options)
    yield problem_pages.router()
    if options.docs:
        yield docs.router()
