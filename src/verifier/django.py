"""The verifier in Django: `@verifier.require("account:read")` over a view."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse

from ..domain.errors import GatepostError
from .checks import SyncVerifier
from .problems import MEDIA_TYPE, Problem, bearer_token

View = Callable[..., Any]


def _answer(problem: Problem) -> HttpResponse:
    return HttpResponse(
        problem.body, MEDIA_TYPE, status=problem.status, headers=dict(problem.headers)
    )


class Verifier(SyncVerifier):
    def require(self, *scopes: str) -> Callable[[View], View]:
        """Let only requests with a good token in, which says all scopes: `request.caller`.

        Methods take it through Django's `method_decorator`. Views that are coroutines are not
        for it: reading keys would block their loop.
        """

        def guard(view: View) -> View:
            if inspect.iscoroutinefunction(view):
                raise TypeError("Guard an async view with gatepost.verifier.Verifier instead.")

            @functools.wraps(view)
            def guarded(request: HttpRequest, *positional: Any, **named: Any) -> Any:
                try:
                    request.caller = self._caller(request, scopes)
                except GatepostError as error:
                    return _answer(self.problem(error))
                return view(request, *positional, **named)

            # No browser sends this header by itself, so there is nothing to forge.
            guarded.csrf_exempt = True  # type: ignore[attr-defined]
            return guarded

        return guard

    def _caller(self, request: HttpRequest, scopes: tuple[str, ...]) -> Any:
        sent = request.headers.get("Authorization")
        return self.verify(bearer_token([] if sent is None else [sent]), *scopes)
