"""Hot routes: found by their path, and called without what they have no use for."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send


class PlainRoute(APIRoute):
    """Of an endpoint that takes the request and makes its whole answer: nothing is solved."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.app = plain(endpoint)


def plain(endpoint: Callable[[Request], Awaitable[Response]]) -> ASGIApp:
    """Call an endpoint without the framework's dependencies, and the stacks that close them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer = await endpoint(Request(scope, receive))
        await answer(scope, receive, send)

    return app


class RouteIndex(BaseRoute):
    """Stands before the routes and answers for them; what it does not find they refuse themselves.

    The framework compares each request with every route up to the right one, which costs more
    than all else that a cheap answer does. A fixed path comes before one with parameters.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        found = [route for route in routes if isinstance(route, Route)]
        self._patterns = [route for route in found if route.param_convertors]
        self._fixed = {
            (route.path, method): route
            for route in reversed(found)
            if not route.param_convertors
            for method in route.methods or ()
        }

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or scope.get("root_path"):
            return Match.NONE, {}
        route = self._fixed.get((scope["path"], scope["method"]))
        if route is not None:
            return Match.FULL, _chosen(route, {})
        for pattern in self._patterns:
            match, child = pattern.matches(scope)
            if match is Match.FULL:
                return match, _chosen(pattern, child["path_params"])
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["route"].handle(scope, receive, send)


def _chosen(route: Route, parameters: dict[str, object]) -> Scope:
    return {"endpoint": route.endpoint, "path_params": parameters, "route": route}
