"""The verifier in FastAPI: `Depends(verifier.require("account:read"))`."""

from fastapi import FastAPI
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection

from ..domain.tokens import AccessClaims
from . import checks
from .starlette import Refused, answer, caller_of


class _Required(SecurityBase):
    """A dependency that puts a padlock on its routes in the documentation."""

    def __init__(self, verifier: checks.Verifier, scopes: tuple[str, ...]) -> None:
        self.model = HTTPBearer(
            bearerFormat="JWT", description=f"An access token of {verifier.issuer}."
        )
        self.scheme_name = "gatepost"
        self._verifier, self._scopes = verifier, scopes

    async def __call__(self, connection: HTTPConnection) -> AccessClaims:
        return await caller_of(self._verifier, connection, *self._scopes)


class Verifier(checks.Verifier):
    def require(self, *scopes: str) -> _Required:
        """Make a dependency that returns what the token says, if it is good and has all scopes."""
        return _Required(self, scopes)

    def answer_refusals(self, app: FastAPI) -> None:
        """Let the app answer refusals as problem details; without, they are FastAPI's errors."""
        app.add_exception_handler(Refused, answer)
