"""The refresh token as a cookie, and what a call that carries it must show."""

from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request

from ...domain.errors import OriginNotAllowed
from .options import HttpOptions

_NAME = "gatepost_refresh"


@dataclass(frozen=True, slots=True)
class RefreshCookie:
    """Sets, reads and clears the cookie; `allowed_origins` may send it."""

    name: str
    attributes: str
    allowed_origins: frozenset[str]

    @classmethod
    def of(cls, options: HttpOptions) -> "RefreshCookie":
        attributes = "Path=/; HttpOnly; SameSite=Strict"
        if options.secure_cookies:
            # The prefix makes browsers refuse one set by a sibling domain or for a part of ours.
            return cls(f"__Host-{_NAME}", f"{attributes}; Secure", options.allowed_origins)
        return cls(_NAME, attributes, options.allowed_origins)

    def holding(self, token: str, lifetime: timedelta) -> str:
        seconds = int(lifetime.total_seconds())
        return f"{self.name}={token}; Max-Age={seconds}; {self.attributes}"

    @property
    def cleared(self) -> str:
        return f"{self.name}=; Max-Age=0; {self.attributes}"

    def read(self, request: Request) -> str | None:
        """Return the token, if the cookie is there; raises OriginNotAllowed.

        SameSite leaves sibling domains in, so a call borne by the cookie also needs an allowed
        Origin and a header that no form and no foreign page can send.
        """
        token = request.cookies.get(self.name)
        if not token:
            return None
        own_script = request.headers.get("x-requested-with") == "gatepost"
        if not own_script or request.headers.get("origin") not in self.allowed_origins:
            raise OriginNotAllowed
        return token
