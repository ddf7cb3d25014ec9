"""The search for secrets in logs finds what is there."""

import logging
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import httpx2
import pytest
import structlog

from gatepost.application.correlation import REQUEST_ID
from tests import leaks
from tests.unit.entrypoints.http.service import Service

PLANTED = "planted ä secret 42"


@pytest.fixture
def planted() -> Iterator[str]:
    """A secret for one test, and logs that are searched for it alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaks, "secrets", set[str]())
        patch.setattr(leaks, "folders", set[Path]())
        patch.setattr(leaks, "stream", StringIO())
        leaks.collect_logs()
        yield leaks.secret(PLANTED)
    leaks.collect_logs()


@pytest.mark.parametrize("by", ["structlog", "logging", "service"])
def test_a_planted_secret_is_found(planted: str, by: str, tmp_path: Path) -> None:
    leaks.assert_no_leak()
    if by == "structlog":
        structlog.get_logger("gatepost.x").warning("said", what=planted)
    elif by == "logging":
        logging.getLogger("library").warning("said %s", planted)
    else:
        (tmp_path / "service.log").write_text(f"x{planted}y")
        leaks.folders.add(tmp_path)
    with pytest.raises(pytest.fail.Exception) as refused:
        leaks.assert_no_leak()
    assert planted not in str(refused.value)
    leaks.stream.seek(0)
    leaks.stream.truncate()
    if by != "service":
        leaks.assert_no_leak()


def test_what_looks_like_a_secret_needs_nobody_to_know_it(planted: str) -> None:
    logging.getLogger("library").warning("got eyJhbGciOiJFUzI1NiJ9")
    with pytest.raises(pytest.fail.Exception):
        leaks.assert_no_leak()


async def test_secrets_of_requests_and_answers_are_noted_by_themselves(
    service: Service,
) -> None:
    await service.member("noted")
    tokens = await service.sign_in("noted")
    basic = httpx2.BasicAuth("some-client", "its secret 1")
    await service.http.post(
        "/oauth2/token?token=in-the-query-1",
        data={"grant_type": "client_credentials", "client_secret": "in the form 1"},
        auth=basic,
        headers={"Cookie": "a=in-a-cookie-1; b=c"},
    )
    used = {tokens["access_token"], tokens["refresh_token"], "in the form 1"}
    assert used | {"its secret 1", "in-the-query-1", "in-a-cookie-1"} <= leaks.secrets
    lines = leaks.stream.getvalue()
    assert '"route": "/oauth2/token"' in lines
    assert str(REQUEST_ID.get()) in lines


def test_words_that_lines_are_full_of_are_not_looked_for() -> None:
    leaks.secret("password")
    leaks.secret("2 short")
    assert not {"password", "2 short"} & leaks.secrets
