"""Gatepost: an identity service to run or to embed.

All names here are public. Each is loaded when it is first asked for: the core needs nothing
beyond the standard library, the rest an extra.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapters.postgres.joined import JoinedUnitOfWork
    from .application.events import Subscriber
    from .application.gatepost import Gatepost, assemble
    from .application.policies import Policies
    from .application.ports import Ports
    from .application.tokens import SignedIn
    from .domain import errors, events
    from .domain.accounts import Account
    from .domain.audit import ClientContext
    from .domain.errors import GatepostError, Kind
    from .domain.events import DomainEvent
    from .domain.roles import Principal, Scope
    from .entrypoints.container import open_gatepost
    from .entrypoints.embedding import open_embedded
    from .entrypoints.http.app import HttpOptions, Routes, create_app
    from .entrypoints.http.mounting import client_context, mount, require_scope
    from .entrypoints.http.settings import http_options
    from .entrypoints.settings import Settings, SettingsError
    from .entrypoints.settings import load as load_settings
    from .entrypoints.worker import work

__version__ = "0.1.0"

__all__ = [
    "Account",
    "ClientContext",
    "DomainEvent",
    "Gatepost",
    "GatepostError",
    "HttpOptions",
    "JoinedUnitOfWork",
    "Kind",
    "Policies",
    "Ports",
    "Principal",
    "Routes",
    "Scope",
    "Settings",
    "SettingsError",
    "SignedIn",
    "Subscriber",
    "__version__",
    "assemble",
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

# Where each name lives, and the extra that brings what it needs.
_HOMES = {
    "Account": ("domain.accounts", ""),
    "ClientContext": ("domain.audit", ""),
    "DomainEvent": ("domain.events", ""),
    "Gatepost": ("application.gatepost", ""),
    "GatepostError": ("domain.errors", ""),
    "HttpOptions": ("entrypoints.http.app", "http"),
    "JoinedUnitOfWork": ("adapters.postgres.joined", "postgres"),
    "Kind": ("domain.errors", ""),
    "Policies": ("application.policies", ""),
    "Ports": ("application.ports", ""),
    "Principal": ("domain.roles", ""),
    "Routes": ("entrypoints.http.app", "http"),
    "Scope": ("domain.roles", ""),
    "Settings": ("entrypoints.settings", "service"),
    "SettingsError": ("entrypoints.settings", "service"),
    "SignedIn": ("application.tokens", ""),
    "Subscriber": ("application.events", ""),
    "assemble": ("application.gatepost", ""),
    "client_context": ("entrypoints.http.mounting", "http"),
    "create_app": ("entrypoints.http.app", "http"),
    "errors": ("domain.errors", ""),
    "events": ("domain.events", ""),
    "http_options": ("entrypoints.http.settings", "service"),
    "load_settings": ("entrypoints.settings", "service"),
    "mount": ("entrypoints.http.mounting", "http"),
    "open_embedded": ("entrypoints.embedding", "service"),
    "open_gatepost": ("entrypoints.container", "service"),
    "require_scope": ("entrypoints.http.mounting", "http"),
    "work": ("entrypoints.worker", "service"),
}
_MODULES = {"errors", "events"}
_OTHER_NAMES = {"load_settings": "load"}


def __getattr__(name: str) -> Any:
    """Load a name (PEP 562); raises ImportError that names the extra it needs."""
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
    return sorted({*globals(), *__all__})
