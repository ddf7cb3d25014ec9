"""Interactive documentation, with every asset served by the service itself."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

# Both tools set styles from scripts, which no hash can admit; scripts come from here alone.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# Addresses are relative, so that the pages also work under a prefix of a proxy.
_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<link rel="icon" href="docs/assets/favicon.png">{head}'
    "<title>Gatepost API</title></head><body>{body}</body></html>"
)
_SWAGGER = _PAGE.format(
    head='<link rel="stylesheet" href="docs/assets/swagger-ui.css">',
    body='<div id="swagger-ui"></div><script src="docs/assets/swagger-ui-bundle.js"></script>'
    '<script src="docs/start.js"></script>',
)
_REDOC = _PAGE.format(
    head="",
    body='<redoc spec-url="openapi.json"></redoc>'
    '<script src="docs/assets/redoc.standalone.js"></script>',
)
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""


class _Assets(StaticFiles):
    """Megabytes that change with an upgrade only: browsers keep them and ask whether they did."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, no-cache"
        return response


def router() -> APIRouter:
    api = APIRouter(include_in_schema=False)

    @api.get("/docs")
    async def show_swagger() -> HTMLResponse:
        return HTMLResponse(_SWAGGER, headers={"Content-Security-Policy": _POLICY})

    @api.get("/redoc")
    async def show_redoc() -> HTMLResponse:
        return HTMLResponse(_REDOC, headers={"Content-Security-Policy": _POLICY})

    @api.get("/docs/start.js")
    async def start_swagger() -> Response:
        return Response(_START, media_type="text/javascript")

    api.routes.append(Mount("/docs/assets", _Assets(directory=_assets())))
    return api


def _assets() -> Path:
    """Find the assets that a package ships; importing it would only build another application."""
    spec = find_spec("fastapi_offline")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("The documentation pages need the package fastapi-offline.")
    return Path(spec.submodule_search_locations[0], "static")
