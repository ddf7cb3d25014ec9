"""What the OpenAPI description says beyond what the framework finds out by itself."""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from ...domain.roles import Scope
from .errors import PROBLEM_JSON, catalogue

Responses = dict[int | str, dict[str, Any]]

_ANYWHERE = ("internal_error", "unavailable")
BODY = (
    "malformed_request",
    "body_too_slow",
    "body_too_large",
    "unsupported_media_type",
    "validation_failed",
)
CONDITIONAL = ("version_conflict", "precondition_required")
KEYED = ("idempotency_key_reused", "idempotency_key_in_use")
CALLER = ("unauthenticated", "access_token_invalid", "insufficient_scope", "rate_limited")
_REFRESH_COOKIE = {
    "type": "apiKey",
    "in": "cookie",
    "name": "__Host-gatepost_refresh",
    "description": "Needs `X-Requested-With: gatepost` and an allowed `Origin` beside it.",
}
_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


_TEXT = {"schema": {"type": "string"}}
_ANSWER_HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        **_TEXT,
        "description": "The one that was sent, if it is sane, or a new one.",
    },
    "RateLimit": {**_TEXT, "description": "What is left of each limit, and when there is more."},
    "RateLimit-Policy": {**_TEXT, "description": "The limits that were counted."},
    "Link": {**_TEXT, "description": 'The next page, with `rel="next"`, if there is one.'},
    "Idempotency-Replayed": {**_TEXT, "description": "`true` where the stored answer came again."},
    "ETag": {**_TEXT, "description": "The version, for `If-Match` and `If-None-Match`."},
    "Location": {**_TEXT, "description": "The path of what was made."},
}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


VERSIONED: dict[str, Any] = {"headers": _headers("ETag")}
CREATED: dict[str, Any] = {"headers": _headers("ETag", "Location")}
UNCHANGED: dict[str, Any] = {
    "description": "Not changed since the `If-None-Match` given.",
    **VERSIONED,
}


class ProblemFault(BaseModel):
    """One rule that the request breaks; exactly one of `pointer` and `parameter` is there."""

    pointer: str | None = Field(default=None, description="JSON pointer (RFC 6901) into the body.")
    parameter: str | None = Field(default=None, description="A query, path or header parameter.")
    code: str
    message: str


class Problem(BaseModel):
    """Problem details (RFC 9457). Programs branch on `code` alone."""

    type: str = Field(description="Address of a page that explains the code.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path that was asked for.")
    code: str
    request_id: str
    errors: list[ProblemFault] | None = Field(default=None, description="With status 422.")
    password_change_token: str | None = Field(
        default=None,
        description="With `password_change_required`: spend it at `/v1/password-resets/confirm`.",
    )


def problems(*codes: str | Iterable[str]) -> Responses:
    """Document the problems of a route by their codes, beside those that any route may have."""
    flat = [code for each in codes for code in ([each] if isinstance(each, str) else each)]
    by_status: dict[int | str, list[str]] = {}
    for code in (*flat, *_ANYWHERE):
        by_status.setdefault(int(catalogue()[code].status), []).append(code)
    return {status: _response(status, found) for status, found in sorted(by_status.items())}


def _response(status: int | str, codes: list[str]) -> dict[str, Any]:
    lines = [f"`{code}`: {catalogue()[code].title}" for code in codes]
    schema = {"$ref": "#/components/schemas/Problem"}
    response: dict[str, Any] = {
        "description": "\n\n".join(lines),
        "content": {PROBLEM_JSON: {"schema": schema}},
    }
    if isinstance(status, int) and status in _HEADERS:
        response["headers"] = {_HEADERS[status]: {"schema": {"type": "string"}}}
    return response


class Application(FastAPI):
    """The framework's application whose description knows our problems.

    With `token_url` the Authorize button signs in by the password grant there.
    """

    token_url: str | None = None

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            schema = super().openapi()
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            template = "#/components/schemas/{model}"
            problem = Problem.model_json_schema(ref_template=template)
            schemas.update(problem.pop("$defs"))
            schemas["Problem"] = problem
            schemes = schema["components"].setdefault("securitySchemes", {})
            schemes["refreshCookie"] = _REFRESH_COOKIE
            schemes["clientBasic"] = {"type": "http", "scheme": "basic"}
            schema["components"]["headers"] = _ANSWER_HEADERS
            _name_headers(schema["paths"])
            if self.token_url is not None:
                schemes["password"] = _password_flow(self.token_url)
                _offer_password(schema["paths"])
        return self.openapi_schema or {}


def _name_headers(paths: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Add to every answer the headers that go by what its operation takes and may answer."""
    for operation in (operation for path in paths.values() for operation in path.values()):
        taken = {parameter["name"] for parameter in operation.get("parameters", ())}
        for status, response in operation["responses"].items():
            names = ["X-Request-ID"]
            if "429" in operation["responses"]:
                names += ["RateLimit", "RateLimit-Policy"]
            if status == "200" and "cursor" in taken:
                names.append("Link")
            if status.startswith("2") and "Idempotency-Key" in taken:
                names.append("Idempotency-Replayed")
            response["headers"] = response.get("headers", {}) | _headers(*names)


def _password_flow(token_url: str) -> dict[str, Any]:
    scopes = {scope.value: "" for scope in Scope}
    flow = {"tokenUrl": token_url, "refreshUrl": token_url, "scopes": scopes}
    return {"type": "oauth2", "flows": {"password": flow}}


def _offer_password(paths: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Open every route that takes a bearer token to the token that the button fetches."""
    operations = (operation for path in paths.values() for operation in path.values())
    for ways in (operation.get("security", []) for operation in operations):
        ways += [{"password": way["bearer"]} for way in ways if "bearer" in way]
