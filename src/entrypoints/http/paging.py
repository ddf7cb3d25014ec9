"""Lists in pages: the body, and the Link header beside it (RFC 8288)."""

from typing import Annotated
from urllib.parse import urlencode

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from .paths import path_within
from .schemas import json_answer

# Only told, not checked: what is no cursor of ours is refused as one, whatever it looks like.
_OPAQUE = {"pattern": "^[A-Za-z0-9_=-]*$"}
Cursor = Annotated[str, Field(max_length=8192, json_schema_extra=_OPAQUE)]


def paged(request: Request, public_url: str, body: BaseModel, next_cursor: str | None) -> Response:
    """Answer a page; `body` has `items` and `next_cursor`."""
    answer = json_answer(body)
    if next_cursor is not None:
        kept = [(name, value) for name, value in request.query_params.items() if name != "cursor"]
        query = urlencode([*kept, ("cursor", next_cursor)])
        answer.headers["Link"] = f'<{public_url}{path_within(request.scope)}?{query}>; rel="next"'
    return answer
