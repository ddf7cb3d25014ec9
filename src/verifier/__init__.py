"""Checks Gatepost's access tokens in the services that they are meant for (RFC 9068).

Needs the extra `verifier`. What fits a framework is in a module of its own, which needs that
framework: `gatepost.verifier.fastapi`, `.starlette`, `.django`, `.grpc`.
"""

from ..domain.errors import (
    AccessTokenInvalid,
    GatepostError,
    InsufficientScope,
    Unauthenticated,
    Unavailable,
)
from ..domain.tokens import AccessClaims

try:
    from .checks import SyncVerifier, Verifier
    from .keys import KeyCachePolicy
    from .problems import Problem, bearer_token
except ModuleNotFoundError as missing:
    raise ImportError("gatepost.verifier needs the extra gatepost[verifier].") from missing

__all__ = [
    "AccessClaims",
    "AccessTokenInvalid",
    "GatepostError",
    "InsufficientScope",
    "KeyCachePolicy",
    "Problem",
    "SyncVerifier",
    "Unauthenticated",
    "Unavailable",
    "Verifier",
    "bearer_token",
]
