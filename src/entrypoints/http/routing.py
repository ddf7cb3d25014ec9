"""Hot routes: found by their path, and called without what they have no use for."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class DirectRoute(APIRoute):
    """May have an endpoint that makes its whole answer of the request: nothing is solved then."""

    direct: Handler | None = None

    def answer_by(self, handler: Handler) -> None:
        """Call it without the framework's dependencies, and the stacks that close them."""
        self.direct = handler
        self.app = _plain(handler)


class PlainRoute(DirectRoute):
    """Of an endpoint that takes the request and makes its whole answer."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.answer_by(endpoint)


def _plain(endpoint: Handler) -> ASGIApp:
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

    def fixed(self, scope: Scope) -> Route | None:
        """Find the route of a path without parameters."""
        if scope["type"] != "http" or scope.get("root_path"):
            return None
        return self._fixed.get((scope["path"], scope["method"]))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or scope.get("root_path"):
            return Match.NONE, {}
        if (route := self.fixed(scope)) is not None:
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


class Shortcut:
    """Answers for direct routes, with refusals as the framework has them answered; pure ASGI.

    Past its layers for exceptions and for files left open, its router, and what each wraps.
    """

    def __init__(
        self, app: ASGIApp, *, index: RouteIndex, refusals: Mapping[Any, Callable[..., Any]]
    ) -> None:
        self._app = app
        self._index = index
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._index.fixed(scope)
        if not isinstance(route, DirectRoute) or route.direct is None:
            await self._app(scope, receive, send)
            return
        scope.update(_chosen(route, {}))
        request = Request(scope, receive)
        try:
            answer = await route.direct(request)
        except Exception as error:
            answer = await self._refused(request, error)
        await answer(scope, receive, send)

    async def _refused(self, request: Request, error: Exception) -> Response:
        for kind in type(error).__mro__:
            if (refuse := self._refusals.get(kind)) is not None:
                refusal: Awaitable[Response] = refuse(request, error)
                return await refusal
        raise error
