"""Reading of forms, which only the OAuth endpoints take: strict as for JSON, bounded alike."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_plus

from starlette.requests import Request

from ...domain.errors import InvalidClient
from .errors import MALFORMED, UNSUPPORTED_MEDIA_TYPE, RequestRefused
from .json_body import media_type_of, read_body

_MAX_PARAMETERS = 100
_FORM_TYPES = {
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded;charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class OAuthForm:
    """The parameters of a call, and the client's credentials wherever they came from."""

    values: Mapping[str, str]
    client_id: str | None
    client_secret: str | None

    def get(self, name: str) -> str | None:
        return self.values.get(name)

    def require(self, name: str) -> str:
        value = self.values.get(name)
        if value is None:
            raise self.missing(name)
        return value

    def missing(self, name: str) -> RequestRefused:
        return RequestRefused(MALFORMED, f"The parameter {name} is missing.")


async def read_form(request: Request, *, by_bearer: bool = False) -> OAuthForm:
    """Read a form; raises RequestRefused (400, 413, 415) and InvalidClient.

    Unknown parameters are ignored, and those without a value are as good as left out, as RFC
    6749 section 3.2 wants it; none may stand there twice.
    """
    values = await _parameters(request)
    basic = None if by_bearer else _basic(request)
    if basic is None:
        return OAuthForm(values, values.get("client_id"), values.get("client_secret"))
    client_id, secret = basic
    # Section 2.3: one way of authentication in a request.
    if "client_secret" in values or values.get("client_id", client_id) != client_id:
        raise RequestRefused(MALFORMED, "The client's credentials came twice.")
    return OAuthForm(values, client_id, secret)


async def _parameters(request: Request) -> dict[str, str]:
    announced, encodings = media_type_of(request)
    encoded = bool(encodings) and encodings[0].lower() != b"identity"
    if len(announced) != 1 or not _is_form(announced[0]) or encoded:
        raise RequestRefused(UNSUPPORTED_MEDIA_TYPE, "The body must be a URL-encoded form.")
    try:
        pairs = parse_qsl(
            (await read_body(request.receive)).decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError:
        raise RequestRefused(MALFORMED) from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RequestRefused(MALFORMED, "A parameter stands there twice.")
    if "\0" in "".join(map("".join, pairs)):
        raise RequestRefused(MALFORMED, "No NUL characters.")
    return {name: value for name, value in found.items() if value}


def _is_form(media_type: bytes) -> bool:
    if media_type == b"application/x-www-form-urlencoded":
        return True
    plain = media_type.decode("latin-1").lower().replace(" ", "").replace('"', "")
    return plain.rstrip(";") in _FORM_TYPES


def _basic(request: Request) -> tuple[str, str] | None:
    """Read HTTP Basic with its pieces form-encoded (RFC 6749 section 2.3.1).

    Without a client in it, as documentation pages send it, it counts as left out.
    """
    sent = request.headers.getlist("authorization")
    if not sent:
        return None
    scheme, _, encoded = sent[0].partition(" ")
    if len(sent) > 1 or scheme.lower() != "basic":
        raise InvalidClient
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
        client_id, colon, secret = text.partition(":")
        pieces = (
            unquote_plus(client_id, errors="strict"),
            unquote_plus(secret, errors="strict"),
        )
    except (ValueError, binascii.Error):
        raise InvalidClient from None
    if not colon or "\0" in text:
        raise InvalidClient
    return None if pieces == ("", "") else pieces
