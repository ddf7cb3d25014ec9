"""Gatepost: an identity service to run or to embed.

All names here are public. Importing the package loads the core, which is nothing beyond the
standard library; what needs an extra is loaded by the first use of its name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .application.events import Subscriber
from .application.gatepost import Gatepost, assemble
from .application.policies import Policies
from .application.ports import Ports
from .application.tokens import SignedIn
from .domain import errors
from .domain.accounts import Account
from .domain.audit import ClientContext
from .domain.errors import GatepostError, Kind
from .domain.events import DomainEvent
from .domain.roles import Principal, Scope

if TYPE_CHECKING:
    from .adapters.postgres.joined import JoinedUnitOfWork
    from .entrypoints.container import open_gatepost
    from .entrypoints.embedding import open_embedded
    from .entrypoints.http.app import HttpOptions, Routes, create_app
    from .entrypoints.http.mounting import client_context, mount, require_scope
    from .entrypoints.http.settings import http_options
    from .entrypoints.settings import Settings, SettingsError
    from .entrypoints.settings import load as load_settings

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
    "http_options",
    "load_settings",
    "mount",
    "open_embedded",
    "open_gatepost",
    "require_scope",
]

# Where each late name lives, and the extra that brings what it needs.
_LATE = {
    "HttpOptions": ("entrypoints.http.app", "http"),
    "JoinedUnitOfWork": ("adapters.postgres.joined", "postgres"),
    "Routes": ("entrypoints.http.app", "http"),
    "Settings": ("entrypoints.settings", "service"),
    "SettingsError": ("entrypoints.settings", "service"),
    "client_context": ("entrypoints.http.mounting", "http"),
    "create_app": ("entrypoints.http.app", "http"),
    "http_options": ("entrypoints.http.settings", "service"),
    "load_settings": ("entrypoints.settings", "service"),
    "mount": ("entrypoints.http.mounting", "http"),
    "open_embedded": ("entrypoints.embedding", "service"),
    "open_gatepost": ("entrypoints.container", "service"),
    "require_scope": ("entrypoints.http.mounting", "http"),
}
_NAMED = {"load_settings": "load"}


def __getattr__(name: str) -> Any:
    """Load what needs an extra (PEP 562); raises ImportError, naming the extra that is missing."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, extra = _LATE[name]
    try:
        found = getattr(import_module(f".{module}", __name__), _NAMED.get(name, name))
    except ModuleNotFoundError as missing:
        raise ImportError(f"{name} needs the extra gatepost[{extra}].") from missing
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
