"""Gatepost: an identity service to run or to embed.

All names here are public. Each is loaded when it is first asked for: the core needs nothing
beyond the standard library, the rest an extra.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import errors, events
    from .adapters.postgres.joined import JoinedUnitOfWork
    from .adapters.prometheus import PrometheusMetrics
    from .application.events import Subscriber
    from .application.gatepost import Gatepost, assemble
    from .application.mail import MailPolicy
    from .application.policies import Policies
    from .application.ports import Ports
    from .application.tokens import SignedIn
    from .domain.accounts import Account, AccountPolicy
    from .domain.audit import AuditPolicy, ClientContext
    from .domain.credentials import PasswordPolicy
    from .domain.errors import GatepostError, Kind
    from .domain.events import DomainEvent
    from .domain.keys import KeyPolicy
    from .domain.limits import LimitPolicy
    from .domain.roles import Principal, Scope
    from .domain.sessions import SessionPolicy
    from .domain.tokens import TokenPolicy
    from .entrypoints.container import open_gatepost
    from .entrypoints.database import available_database
    from .entrypoints.embedding import open_embedded
    from .entrypoints.http.app import HttpOptions, Routes, create_app
    from .entrypoints.http.mounting import client_context, mount, require_scope
    from .entrypoints.http.settings import http_options
    from .entrypoints.metrics import Exposition
    from .entrypoints.settings import Settings, SettingsError
    from .entrypoints.settings import load as load_settings
    from .entrypoints.worker import work

    __all__ = [
        "Account",
        "AccountPolicy",
        "AuditPolicy",
        "ClientContext",
        "DomainEvent",
        "Exposition",
        "Gatepost",
        "GatepostError",
        "HttpOptions",
        "JoinedUnitOfWork",
        "KeyPolicy",
        "Kind",
        "LimitPolicy",
        "MailPolicy",
        "PasswordPolicy",
        "Policies",
        "Ports",
        "Principal",
        "PrometheusMetrics",
        "Routes",
        "Scope",
        "SessionPolicy",
        "Settings",
        "SettingsError",
        "SignedIn",
        "Subscriber",
        "TokenPolicy",
        "__version__",
        "assemble",
        "available_database",
        "client_context",
        "create_app",
        "errors",
        "events",
        "http_options",
        "load_settings",
        "mount",
        "open_embedded",
        "open_gatepost",
        "require_scope",
        "work",
    ]

__version__ = "0.1.0"

# Where each name lives, and the extra that brings what it needs.
_HOMES = {
    "Account": ("domain.accounts", ""),
    "AccountPolicy": ("domain.accounts", ""),
    "AuditPolicy": ("domain.audit", ""),
    "ClientContext": ("domain.audit", ""),
    "DomainEvent": ("domain.events", ""),
    "Exposition": ("entrypoints.metrics", "service"),
    "Gatepost": ("application.gatepost", ""),
    "GatepostError": ("domain.errors", ""),
    "HttpOptions": ("entrypoints.http.app", "http"),
    "JoinedUnitOfWork": ("adapters.postgres.joined", "postgres"),
    "KeyPolicy": ("domain.keys", ""),
    "Kind": ("domain.errors", ""),
    "LimitPolicy": ("domain.limits", ""),
    "MailPolicy": ("application.mail", ""),
    "PasswordPolicy": ("domain.credentials", ""),
    "Policies": ("application.policies", ""),
    "Ports": ("application.ports", ""),
    "Principal": ("domain.roles", ""),
    "PrometheusMetrics": ("adapters.prometheus", "service"),
    "Routes": ("entrypoints.http.app", "http"),
    "Scope": ("domain.roles", ""),
    "SessionPolicy": ("domain.sessions", ""),
    "Settings": ("entrypoints.settings", "service"),
    "SettingsError": ("entrypoints.settings", "service"),
    "SignedIn": ("application.tokens", ""),
    "Subscriber": ("application.events", ""),
    "TokenPolicy": ("domain.tokens", ""),
    "assemble": ("application.gatepost", ""),
    "available_database": ("entrypoints.database", "service"),
    "client_context": ("entrypoints.http.mounting", "http"),
    "create_app": ("entrypoints.http.app", "http"),
    "errors": ("errors", ""),
    "events": ("events", ""),
    "http_options": ("entrypoints.http.settings", "service"),
    "load_settings": ("entrypoints.settings", "service"),
    "mount": ("entrypoints.http.mounting", "http"),
    "open_embedded": ("entrypoints.embedding", "service"),
    "open_gatepost": ("entrypoints.container", "service"),
    "require_scope": ("entrypoints.http.mounting", "http"),
    "work": ("entrypoints.worker", "service"),
}
# What tells whether an extra is installed.
_BROUGHT = {"http": "fastapi", "postgres": "sqlalchemy", "service": "dependency_injector"}
_MODULES = {"errors", "events"}
_OTHER_NAMES = {"load_settings": "load"}


def __getattr__(name: str) -> Any:
    """Load a name (PEP 562); raises ImportError that names the extra it needs."""
    if name == "__all__":
        return _present()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, extra = _HOMES[name]
    try:
        module = import_module(f".{home}", __name__)
    except ModuleNotFoundError as missing:
        if not extra:
            raise
        raise ImportError(f"{name} needs the extra gatepost[{extra}].") from missing
    found = module if name in _MODULES else getattr(module, _OTHER_NAMES.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_present()})


def _present() -> list[str]:
    """List what can be loaded: `help`, and an import of everything, load all of it."""
    from importlib.util import find_spec

    missing = {extra for extra, module in _BROUGHT.items() if find_spec(module) is None}
    return [
        "__version__",
        *(name for name, (_, extra) in _HOMES.items() if extra not in missing),
    ]
