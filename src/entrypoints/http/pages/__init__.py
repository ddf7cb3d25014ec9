"""A plain page of our own behind each mailed link, for as long as no frontend has any.

A GET spends nothing: mail scanners follow links. The form posts the token that a few lines of
script take from the fragment.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ....application.gatepost import Gatepost
from ....domain.audit import ClientContext
from ....domain.errors import GatepostError, ValidationFailed
from ..client_address import client_of
from ..errors import STATUS, headers_of
from ..language import chosen_language
from .texts import ENGLISH, TEXTS, translated

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
class _Asked:
    """The one thing that somebody types into a page; `kind` is the type of its field."""

    label: str
    kind: str
    autocomplete: str


@dataclass(frozen=True, slots=True)
class _Form:
    """One page: what it says, what it asks for, and the use case that its form calls."""

    path: str
    title: str
    asked: _Asked | None
    button: str
    done: str
    submit: Submit


_PASSWORD = _Asked("Your password", "password", "current-password")
_NEW_PASSWORD = _Asked("New password", "password", "new-password")
_EMAIL = _Asked("Your e-mail address", "email", "email")


def routes(gatepost: Gatepost) -> list[Route]:
    """Make the pages; mounted only where the links lead to this service itself."""

    service = gatepost.policies.passwords.service_name
    forms = (*_forms_of_addresses(gatepost), *_forms_of_passwords(gatepost))
    return [
        *(Route(f.path, _endpoint(f, service), methods=["GET", "POST"]) for f in forms),
        Route("/pages/{name}", _asset, methods=["GET"]),
    ]


def _forms_of_addresses(gatepost: Gatepost) -> Iterator[_Form]:
    async def verify(token: str, password: str, client: ClientContext) -> object:
        return await gatepost.accounts.verify_email(token=token, password=password, client=client)

    async def undo(token: str, nothing: str, client: ClientContext) -> object:
        await gatepost.accounts.undo_email_change(token=token, client=client)
        return None

    yield _Form(
        "/verify-email",
        "Confirm your e-mail address",
        _PASSWORD,
        "Confirm",
        "Your address is confirmed. You can sign in now.",
        verify,
    )
    yield _Form(
        "/confirm-email",
        "Confirm your new e-mail address",
        _PASSWORD,
        "Confirm",
        "This is your address now.",
        verify,
    )
    yield _Form(
        "/undo-email",
        "Stop the change of your e-mail address",
        None,
        "It was not me",
        "The change is undone, and everybody is signed out. A message with a link to set a new "
        "password is on its way to you.",
        undo,
    )


def _forms_of_passwords(gatepost: Gatepost) -> Iterator[_Form]:
    async def reset(token: str, password: str, client: ClientContext) -> object:
        await gatepost.credentials.reset(token=token, new_password=password, client=client)
        return None

    async def forget(no_token: str, email: str, client: ClientContext) -> object:
        await gatepost.credentials.request_reset(email=email, client=client)
        return None

    yield _Form(
        "/reset-password",
        "Choose a new password",
        _NEW_PASSWORD,
        "Set password",
        "Your password is set, and every session has ended. You can sign in now.",
        reset,
    )
    yield _Form(
        "/change-password",
        "Change your password",
        _EMAIL,
        "Send me a link",
        "If there is an account with this address, a link to set a new password is on its way.",
        forget,
    )


def _endpoint(form: _Form, service: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        page = _Page.of(request, service)
        if request.method != "POST":
            return page.answer(form.title, page.form(form, "", ""))
        fields = await _posted(request)
        token, typed = fields.get("token", ""), fields.get("typed", "")
        try:
            await form.submit(token, typed, client_of(request.scope))
        except GatepostError as refused:
            body = page.form(form, page.said(refused), token)
            answer = page.answer(form.title, body, STATUS[refused.kind])
            answer.headers.update(headers_of(refused))
            return answer
        return page.answer(form.title, f"<p role=status>{page.text(form.done)}</p>")

    return endpoint


async def _posted(request: Request) -> dict[str, str]:
    body = (await request.body()).decode("utf-8", "replace")
    parsed = parse_qs(body, keep_blank_values=True)
    return {name: values[0][:_MAX_FIELD] for name, values in parsed.items()}


@dataclass(frozen=True, slots=True)
class _Page:
    """Writes HTML in the language of who looks; what `Accept-Language` does not say is English."""

    service: str
    root: str
    language: str

    @classmethod
    def of(cls, request: Request, service: str) -> "_Page":
        asked = request.headers.get("accept-language")
        language = chosen_language(asked, TEXTS, ENGLISH)
        return cls(service, request.scope.get("root_path", ""), language)

    def text(self, english: str, code: str = "") -> str:
        return escape(translated(english, self.language, code))

    def said(self, refused: GatepostError) -> str:
        if isinstance(refused, ValidationFailed):
            return " ".join(self.text(fault.message, fault.code) for fault in refused.errors)
        return self.text(refused.detail)

    def form(self, form: _Form, fault: str, token: str) -> str:
        """Write the form; the token goes back into it, what was typed never."""
        alert = f"<p role=alert>{fault}</p>" if fault else ""
        return (
            f"{alert}<form method=post>"
            f'<input type=hidden name=token value="{escape(token)}">'
            f"{self._field(form.asked) if form.asked else ''}"
            f"<button>{self.text(form.button)}</button></form>"
        )

    def _field(self, asked: _Asked) -> str:
        return (
            f"<label for=typed>{self.text(asked.label)}</label>"
            f"<input id=typed name=typed type={asked.kind} required "
            f"autocomplete={asked.autocomplete}>"
        )

    def answer(self, title: str, body: str, status: int = 200) -> Response:
        content = _PAGE.substitute(
            title=self.text(title),
            body=body,
            service=escape(self.service),
            root=self.root,
            language=self.language,
        )
        headers = {
            "Content-Security-Policy": _POLICY,
            "Cache-Control": "no-store",
            "Content-Language": self.language,
            "Vary": "Accept-Language",
        }
        return Response(content, status, headers, "text/html")


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _MEDIA:
        raise HTTPException(404)
    return Response(
        (_FOLDER / name).read_bytes(),
        headers={"Cache-Control": "public, max-age=3600"},
        media_type=_MEDIA[name],
    )
