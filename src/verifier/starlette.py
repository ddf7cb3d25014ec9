"""The verifier in Starlette: `@verifier.require("account:read")` over an endpoint."""

import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec, cast

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from ..domain.errors import GatepostError
from ..domain.tokens import AccessClaims
from . import checks
from .problems import MEDIA_TYPE, Problem, bearer_token

P = ParamSpec("P")
Endpoint = Callable[P, Awaitable[Response]]


class Refused(HTTPException):
    """A refusal with status and headers; `answer` makes a problem detail of it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.status, problem.detail, dict(problem.headers))
        self.problem = problem


async def answer(request: Request, refused: Exception) -> Response:
    """Answer a Refused: `exception_handlers={Refused: answer}`."""
    if not isinstance(refused, Refused):
        raise refused
    problem = refused.problem
    return Response(problem.body, problem.status, problem.headers, MEDIA_TYPE)


async def caller_of(
    verifier: checks.Verifier, connection: HTTPConnection, *scopes: str
) -> AccessClaims:
    """Check the token of a request; raises Refused."""
    try:
        token = bearer_token(connection.headers.getlist("authorization"))
        return await verifier.verify(token, *scopes)
    except GatepostError as error:
        raise Refused(verifier.problem(error)) from None


class Verifier(checks.Verifier):
    def require(self, *scopes: str) -> Callable[[Endpoint[P]], Endpoint[P]]:
        """Let in only requests with a good token that says all scopes; `request.state.caller`."""

        def guard(endpoint: Endpoint[P]) -> Endpoint[P]:
            @functools.wraps(endpoint)
            async def guarded(*given: P.args, **named: P.kwargs) -> Response:
                # The last one, as a method of an HTTPEndpoint has itself before it.
                request = cast(Request, given[-1])
                request.state.caller = await caller_of(self, request, *scopes)
                return await endpoint(*given, **named)

            return guarded

        return guard
