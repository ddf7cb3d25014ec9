"""The shop whose orders and accounts are one transaction."""

from collections.abc import Iterator
from uuid import UUID

import httpx2
import pytest
from fastapi.testclient import TestClient


@pytest.fixture(scope="module")
def shop(settings: dict[str, str]) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        from examples.shop_orders import app

        with TestClient(app) as client:
            yield client


def order(shop: httpx2.Client, name: str, item: str) -> httpx2.Response:
    body = {"username": name, "email": f"{item}@example.com", "item": item}
    return shop.post("/orders", json=body)


def test_an_order_and_its_account_last_together_or_not_at_all(shop: TestClient) -> None:
    from examples.shop_orders import app, greeted

    placed = order(shop, "flora", "tea")
    assert placed.status_code == 201, placed.text
    refused = order(shop, "flora", "jam")
    assert (refused.status_code, refused.json()["detail"]) == (409, {"code": "username_taken"})
    assert shop.portal is not None
    rows = shop.portal.call(app.state.pool.fetch, "SELECT account_id, item FROM shop_orders")
    flora = UUID(placed.json()["account"])
    assert [tuple(row) for row in rows] == [(flora, "tea")]
    # A worker without subscribers runs on the same database: it left the event alone.
    told = shop.portal.call(greeted.get)
    while told != flora:
        told = shop.portal.call(greeted.get)


def test_of_the_routes_only_some_are_shown(shop: TestClient) -> None:
    answers = [
        shop.post("/auth/v1/sessions", json={"login": "flora", "password": "wrong"}).status_code,
        shop.get("/auth/verify-email").status_code,
        shop.get("/auth/v1/users").status_code,
        shop.post("/auth/v1/register").status_code,
    ]
    assert answers == [401, 200, 404, 404]
