"""Signs every generated request in; read by schemathesis (SCHEMATHESIS_HOOKS)."""

import os
import time
from typing import Any

import httpx2
import schemathesis

# A generated request may sign its own session out, or be one of an attack on it.
_LIFETIME = 2.0


@schemathesis.auth(refresh_interval=None)
class SignedIn:
    """A session of the account that the environment names, renewed all the time."""

    def __init__(self) -> None:
        self._token = ""
        self._until = 0.0

    def get(self, case: Any, context: Any) -> str:
        if time.monotonic() >= self._until:
            answer = httpx2.post(
                os.environ["FUZZ_URL"] + "/v1/sessions",
                json={
                    "login": os.environ["FUZZ_LOGIN"],
                    "password": os.environ["FUZZ_PASSWORD"],
                },
                timeout=30,
            )
            answer.raise_for_status()
            self._token = answer.json()["access_token"]
            self._until = time.monotonic() + _LIFETIME
        return self._token

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = case.headers or {}
        case.headers.setdefault("Authorization", f"Bearer {data}")
