"""Versions: the ETag of an answer, and the If-Match of a change (RFC 9110 section 13)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Depends, Header
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from ...application.supervision import Versions
from .errors import PRECONDITION_REQUIRED, RequestRefused
from .schemas import json_answer

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Strong tags of ours alone: a weak or foreign one matches no version (section 8.8.3.2).
_TAG = re.compile(r'(?:^|[,\s])"([0-9]{1,16})"')

_Header = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="The `ETag` of what was read, or `*` for whatever is there now.",
        examples=['"1772366400123456"'],
    ),
]


async def _if_match(request: Request, given: _Header = None) -> str | None:
    # A list may come in several lines, of which the framework hands over one.
    return ", ".join(request.headers.getlist("if-match")) if given is not None else None


IfMatch = Annotated[str | None, Depends(_if_match)]


def etag(updated_at: datetime) -> str:
    return f'"{(updated_at - _EPOCH) // timedelta(microseconds=1)}"'


def versioned(body: BaseModel, updated_at: datetime, status: int = 200) -> Response:
    """Answer with the version in the ETag."""
    answer = json_answer(body, status)
    answer.headers["ETag"] = etag(updated_at)
    return answer


def required_versions(if_match: str | None) -> Versions:
    """Read the versions that the caller means; raises RequestRefused (428) without any."""
    if if_match is None:
        raise RequestRefused(PRECONDITION_REQUIRED)
    return versions_of(if_match)


def versions_of(if_match: str | None) -> Versions:
    """Read the versions that the caller means; None for whatever is there now."""
    if if_match is None or if_match.strip() == "*":
        return None
    tags = _TAG.findall(if_match)
    return frozenset(_EPOCH + timedelta(microseconds=int(tag)) for tag in tags)
