"""Versions: the ETag of an answer, and the If-Match of a change (RFC 9110 section 13)."""

import re
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header
from starlette.requests import Request
from starlette.responses import Response

from ...application.supervision import Versions
from .errors import PRECONDITION_REQUIRED, RequestRefused

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


_KnownHeader = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        description="The `ETag` of what is there already: 304 as long as it is that.",
        examples=['"1772366400123456"'],
    ),
]


async def _if_none_match(request: Request, given: _KnownHeader = None) -> str | None:
    return ", ".join(request.headers.getlist("if-none-match")) if given is not None else None


IfNoneMatch = Annotated[str | None, Depends(_if_none_match)]


def etag(updated_at: datetime) -> str:
    return f'"{(updated_at - _EPOCH) // timedelta(microseconds=1)}"'


def versioned(
    answer: Response, updated_at: datetime, if_none_match: str | None = None
) -> Response:
    """Tag an answer with its version; who has that one already is told so, and no more."""
    tag = etag(updated_at)
    if if_none_match is not None and is_known(tag, if_none_match):
        answer = Response(status_code=HTTPStatus.NOT_MODIFIED)
    answer.headers["ETag"] = tag
    return answer


def is_known(tag: str, if_none_match: str) -> bool:
    """Compare weakly, as section 13.1.2 wants it."""
    known = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return tag in known or "*" in known


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
