"""A shop that people sign up to: Gatepost under /auth, and one route for who signed in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI

from gatepost import Principal, http_options, load_settings, mount, open_embedded, require_scope

settings = load_settings(public_url="http://127.0.0.1:8000/auth")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with open_embedded(settings) as gatepost:
        mount(app, "/auth", gatepost, http_options(settings))
        yield


app = FastAPI(title="Shop", lifespan=lifespan)
Customer = Annotated[Principal, Depends(require_scope("account:read"))]


@app.get("/orders")
async def list_orders(customer: Customer) -> dict[str, str]:
    return {"customer": customer.own_account.username.value, "orders": "none yet"}
