"""Idempotency-Key: a request that is sent again is answered, not done, again."""

import json
from collections.abc import Callable
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Depends, Header
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from ...application.idempotency import Idempotency, Once
from ...domain.idempotency import AlreadyAnswered, KeyedRequest

T = TypeVar("T")

_Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[ -~]+$",
        description="Makes the request repeatable for 24 hours: sent again with this key, it is "
        "answered as before, with `Idempotency-Replayed: true`.",
    ),
]


_KEY = "Idempotency-Key"
_checked = TypeAdapter(_Key).validate_python


def keyed_request(request: Request, body: bytes) -> KeyedRequest:
    """Read the key as the framework does for `Repeatable`; raises RequestValidationError."""
    key = request.headers.get(_KEY)
    try:
        key = None if key is None else _checked(key)
    except ValidationError as refused:
        faults = refused.errors(include_url=False)
        for each in faults:
            each["loc"] = ("header", _KEY)
        raise RequestValidationError(faults) from None
    return _of_route(request, key, body)


def _of_route(request: Request, key: str | None, body: bytes) -> KeyedRequest:
    route = f"{request.method} {request.scope['path']}"
    return KeyedRequest(route=route, key=key, body=body)


async def _keyed(request: Request, key: _Key = None) -> KeyedRequest:
    return _of_route(request, key, await request.body())


Repeatable = Annotated[KeyedRequest, Depends(_keyed)]


def once(
    idempotency: Idempotency,
    request: KeyedRequest,
    answer: Callable[[T], Response],
    caller: UUID | None = None,
) -> Once[T]:
    """Make what a use case takes as `once`; `answer` is how the route answers its result."""
    return idempotency.once(request, lambda result: _packed(answer(result)), caller)


async def on_already_answered(request: Request, found: AlreadyAnswered) -> Response:
    """Give the answer of the first time again."""
    head, _, body = found.answer.partition(b"\n")
    told = json.loads(head)
    replayed = {"Idempotency-Replayed": "true"}
    return Response(body, told["status"], headers=told["headers"] | replayed)


def _packed(answer: Response) -> bytes:
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    head = json.dumps({"status": answer.status_code, "headers": headers})
    return head.encode() + b"\n" + bytes(answer.body)
