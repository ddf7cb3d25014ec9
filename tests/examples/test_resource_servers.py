"""The FastAPI and the Django example: tokens of a running Gatepost, checked elsewhere."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.service import Service


@pytest.fixture(scope="module")
def orders(service: Service) -> Iterator[httpx2.Client]:
    from fastapi.testclient import TestClient

    from examples.fastapi_orders import app

    with TestClient(app) as client:
        yield client


def test_the_fastapi_app_keeps_the_orders_of_each_caller(
    orders: httpx2.Client, member: dict[str, str], admin: dict[str, str]
) -> None:
    placed = orders.post("/orders", json={"item": "a kettle"}, headers=member)
    assert (placed.status_code, placed.json()["item"]) == (201, "a kettle")
    assert [each["item"] for each in orders.get("/orders", headers=member).json()] == ["a kettle"]
    assert orders.get("/orders", headers=admin).json() == []


def test_the_fastapi_app_refuses_with_problems_that_gatepost_explains(
    orders: httpx2.Client, http: httpx2.Client
) -> None:
    refused = orders.get("/orders", headers={"Authorization": "Bearer a.b.c"})
    assert (refused.status_code, refused.json()["code"]) == (401, "access_token_invalid")
    assert refused.headers["content-type"] == "application/problem+json"
    assert http.get(refused.json()["type"]).status_code == 200


@pytest.fixture(scope="module")
def django(service: Service) -> Iterator[httpx2.Client]:
    from django.core.wsgi import get_wsgi_application

    import examples.django_report  # noqa: F401

    transport = httpx2.WSGITransport(get_wsgi_application())
    with httpx2.Client(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


def test_the_django_view_is_for_administrators(
    django: httpx2.Client, member: dict[str, str], admin: dict[str, str]
) -> None:
    shown = django.get("/report", headers=admin)
    assert (shown.status_code, shown.json()["lines"]) == (200, [{"sold": 3}])
    refused = django.get("/report", headers=member)
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert 'scope="users:read"' in refused.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [({}, "unauthenticated"), ({"Authorization": "Bearer a.b.c"}, "access_token_invalid")],
)
def test_the_django_view_refuses_as_the_other_does(
    django: httpx2.Client, headers: dict[str, str], code: str
) -> None:
    for method in ("GET", "POST"):
        refused = django.request(method, "/report", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, code)
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["www-authenticate"].startswith("Bearer")


def test_a_coroutine_is_no_view_for_the_decorator(django: httpx2.Client) -> None:
    from examples.django_report import verifier

    async def view(request: object) -> None:
        return None

    with pytest.raises(TypeError, match="async"):
        verifier.require("users:read")(view)
