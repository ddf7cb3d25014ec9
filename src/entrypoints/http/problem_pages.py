"""The pages behind the `type` of a problem."""

import base64
import hashlib
from html import escape
from http import HTTPStatus

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from ...domain.errors import NotFound
from .errors import ProblemType, catalogue

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}"
    "code{background:#8882;padding:.1em .3em;border-radius:.2em}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
}


def router() -> APIRouter:
    api = APIRouter(prefix="/problems", include_in_schema=False)

    @api.get("/{code}")
    async def explain_problem(code: str) -> HTMLResponse:
        problem = catalogue().get(code)
        if problem is None:
            raise NotFound
        return HTMLResponse(_page(problem), headers=_HEADERS)

    return api


def _page(problem: ProblemType) -> str:
    title, code = escape(problem.title), escape(problem.code)
    status = f"{int(problem.status)} {HTTPStatus(problem.status).phrase}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{code}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>Code <code>{code}</code>, status <code>{status}</code>.</p>"
        f"<p>{escape(problem.explanation)}</p></body></html>"
    )
