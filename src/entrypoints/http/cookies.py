"""The refresh token as a cookie, what a call with it must show, and the cookie of a browser."""

from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request

from ...application.devices import DEVICE_TTL
from ...domain.errors import OriginNotAllowed
from .options import HttpOptions

_NAME = "gatepost_refresh"
_DEVICE_NAME = "gatepost_device"
_ATTRIBUTES = "Path=/; HttpOnly; SameSite=Strict"


def is_own_script(request: Request) -> bool:
    """Look for the header that no form and no page elsewhere can send."""
    return request.headers.get("x-requested-with") == "gatepost"


@dataclass(frozen=True, slots=True)
class RefreshCookie:
    """Sets, reads and clears the cookie; `allowed_origins` may send it."""

    name: str
    attributes: str
    allowed_origins: frozenset[str]

    @classmethod
    def of(cls, options: HttpOptions) -> "RefreshCookie":
        return cls(*_named(_NAME, options), options.allowed_origins)

    def holding(self, token: str, lifetime: timedelta) -> str:
        seconds = int(lifetime.total_seconds())
        return f"{self.name}={token}; Max-Age={seconds}; {self.attributes}"

    @property
    def cleared(self) -> str:
        return f"{self.name}=; Max-Age=0; {self.attributes}"

    def refuse_foreign(self, request: Request) -> None:
        """Set no cookie for a page that could not use it; raises OriginNotAllowed.

        Or it could sign the browser in as somebody else (login CSRF).
        """
        origin = request.headers.get("origin")
        if origin is not None and origin not in self.allowed_origins:
            raise OriginNotAllowed

    def read(self, request: Request) -> str | None:
        """Return the token, if the cookie is there; raises OriginNotAllowed.

        SameSite leaves sibling domains in, so a call borne by the cookie also needs an allowed
        Origin and that header.
        """
        token = request.cookies.get(self.name)
        if not token:
            return None
        if not is_own_script(request) or request.headers.get("origin") not in self.allowed_origins:
            raise OriginNotAllowed
        return token


@dataclass(frozen=True, slots=True)
class DeviceCookie:
    """Sets and reads what names a browser that signed in before.

    It authorises nothing, so no Origin is asked for; signing out leaves it.
    """

    name: str
    attributes: str

    @classmethod
    def of(cls, options: HttpOptions) -> "DeviceCookie":
        return cls(*_named(_DEVICE_NAME, options))

    def holding(self, device: str) -> str:
        seconds = int(DEVICE_TTL.total_seconds())
        return f"{self.name}={device}; Max-Age={seconds}; {self.attributes}"

    def read(self, request: Request) -> str | None:
        return request.cookies.get(self.name) or None


def _named(name: str, options: HttpOptions) -> tuple[str, str]:
    if options.secure_cookies:
        # The prefix makes browsers refuse one set by a sibling domain or for a part of ours.
        return f"__Host-{name}", f"{_ATTRIBUTES}; Secure"
    return name, _ATTRIBUTES
