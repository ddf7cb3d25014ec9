"""A plain page of our own behind each mailed link, for as long as no frontend has any.

A GET spends nothing: mail scanners follow links. The form posts the token that a few lines of
script take from the fragment.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ....application.gatepost import Gatepost
from ....domain.audit import ClientContext
from ....domain.errors import GatepostError, ValidationFailed
from ..client_address import client_of
from ..errors import STATUS

_FOLDER = Path(__file__).parent
_PAGE = Template((_FOLDER / "page.html").read_text(encoding="utf-8"))
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_MEDIA = {"style.css": "text/css", "fragment.js": "text/javascript"}
_MAX_FIELD = 2048

Submit = Callable[[str, str, ClientContext], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class _Form:
    """One page: what it says, what it asks for, and the use case that its form calls."""

    path: str
    title: str
    label: str
    autocomplete: str
    button: str
    done: str
    submit: Submit


def routes(gatepost: Gatepost) -> list[Route]:
    """Make the pages; mounted only where the links lead to this service itself."""

    async def verify(token: str, password: str, client: ClientContext) -> object:
        return await gatepost.accounts.verify_email(token=token, password=password, client=client)

    async def reset(token: str, password: str, client: ClientContext) -> object:
        await gatepost.credentials.reset(token=token, new_password=password, client=client)
        return None

    forms = [
        _Form(
            "/verify-email",
            "Confirm your e-mail address",
            "The password you registered with",
            "current-password",
            "Confirm",
            "Your address is confirmed. You can sign in now.",
            verify,
        ),
        _Form(
            "/reset-password",
            "Choose a new password",
            "New password",
            "new-password",
            "Set password",
            "Your password is set, and every session has ended. You can sign in now.",
            reset,
        ),
    ]
    service = gatepost.policies.passwords.service_name
    return [
        *(Route(f.path, _endpoint(f, service), methods=["GET", "POST"]) for f in forms),
        Route("/pages/{name}", _asset, methods=["GET"]),
    ]


def _endpoint(form: _Form, service: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        if request.method != "POST":
            return _page(form.title, _fields(form, "", ""), service, root)
        fields = await _posted(request)
        token, password = fields.get("token", ""), fields.get("password", "")
        try:
            await form.submit(token, password, client_of(request.scope))
        except GatepostError as refused:
            body = _fields(form, _said(refused), token)
            return _page(form.title, body, service, root, STATUS[refused.kind])
        return _page(form.title, f"<p role=status>{escape(form.done)}</p>", service, root)

    return endpoint


async def _posted(request: Request) -> dict[str, str]:
    body = (await request.body()).decode("utf-8", "replace")
    parsed = parse_qs(body, keep_blank_values=True)
    return {name: values[0][:_MAX_FIELD] for name, values in parsed.items()}


def _said(refused: GatepostError) -> str:
    if isinstance(refused, ValidationFailed):
        return " ".join(fault.message for fault in refused.errors)
    return refused.detail


def _fields(form: _Form, fault: str, token: str) -> str:
    """Write the form; the token goes back into it, the password never."""
    alert = f"<p role=alert>{escape(fault)}</p>" if fault else ""
    return (
        f"{alert}<form method=post>"
        f'<input type=hidden name=token value="{escape(token)}">'
        f"<label for=password>{escape(form.label)}</label>"
        f"<input id=password name=password type=password required "
        f"autocomplete={form.autocomplete}>"
        f"<button>{escape(form.button)}</button></form>"
    )


def _page(title: str, body: str, service: str, root: str, status: int = 200) -> Response:
    content = _PAGE.substitute(title=title, body=body, service=escape(service), root=root)
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
    return Response(content, status, headers, "text/html")


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _MEDIA:
        return Response(status_code=404)
    return Response(
        (_FOLDER / name).read_bytes(),
        headers={"Cache-Control": "public, max-age=3600"},
        media_type=_MEDIA[name],
    )
