"""Asking an application without a socket, or a client that costs more than what answers."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any


class Direct:
    """Calls an ASGI application; each request is a task, as it is of a server."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def ask(
        self, method: str, path: str, bearer: str = "", body: Mapping[str, str] | None = None
    ) -> bytes:
        """Return the body of the answer; raises AssertionError for one that is no success."""
        path, _, query = path.partition("?")
        content = b"" if body is None else json.dumps(body).encode()
        headers = [(b"host", b"x")]
        if bearer:
            headers.append((b"authorization", b"Bearer " + bearer.encode()))
        if content:
            headers.append((b"content-type", b"application/json"))
            headers.append((b"content-length", str(len(content)).encode()))
        scope = {
            **{"type": "http", "http_version": "1.1", "method": method, "path": path},
            **{"raw_path": path.encode(), "query_string": query.encode(), "root_path": ""},
            **{"scheme": "http", "client": ("192.0.2.1", 5), "server": ("x", 80)},
            "headers": headers,
        }
        said: list[Any] = []

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            said.append(message)

        await asyncio.create_task(self._app(scope, receive, send))
        answer = b"".join(message.get("body", b"") for message in said)
        assert said[0]["status"] < 300, answer
        return answer
