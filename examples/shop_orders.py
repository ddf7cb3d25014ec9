"""A shop that keeps its orders beside the accounts, in Gatepost's database.

A first order and the account of who placed it are one transaction: both are there, or neither. Of
Gatepost's routes the shop shows those for signing in; and it is told of every new account, by the
worker that `open_embedded` runs beside its routes.

    DATABASE_URL=postgresql://localhost/gatepost uvicorn examples.shop_orders:app
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated
from uuid import UUID

import asyncpg
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel

from gatepost import (
    ClientContext,
    DomainEvent,
    GatepostError,
    JoinedUnitOfWork,
    Principal,
    Routes,
    client_context,
    events,
    http_options,
    load_settings,
    mount,
    open_embedded,
)

settings = load_settings(public_url="http://127.0.0.1:8000/auth")
SHOWN = frozenset({Routes.SESSIONS, Routes.CREDENTIALS, Routes.PAGES})
TABLE = "CREATE TABLE IF NOT EXISTS shop_orders (account_id uuid NOT NULL, item text NOT NULL)"
greeted: asyncio.Queue[UUID] = asyncio.Queue()


async def greet(event: DomainEvent) -> None:
    """At least once for each event: what must not be done twice goes by `event.id`."""
    if isinstance(event, events.AccountCreated):
        await greeted.put(event.account_id)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with (
        asyncpg.create_pool(settings.pooled_url, min_size=0, max_size=4) as app.state.pool,
        open_embedded(settings, subscribers=[greet]) as gatepost,
    ):
        await app.state.pool.execute(TABLE)
        mount(app, "/auth", gatepost, replace(http_options(settings), routes=SHOWN))
        yield


app = FastAPI(title="Shop", lifespan=lifespan)


class FirstOrder(BaseModel):
    username: str
    email: str
    item: str


@app.post("/orders", status_code=201)
async def place(
    order: FirstOrder, client: Annotated[ClientContext, Depends(client_context)]
) -> dict[str, str]:
    async with app.state.pool.acquire() as connection:
        try:
            async with connection.transaction():
                return await _placed(connection, order, client)
        except GatepostError as refused:
            raise HTTPException(409, {"code": refused.code}) from None


async def _placed(
    connection: asyncpg.Connection, order: FirstOrder, client: ClientContext
) -> dict[str, str]:
    # First: a transaction that holds no rows yet keeps nobody waiting.
    account = await app.state.gatepost.within(JoinedUnitOfWork(connection)).administration.create(
        actor=Principal.operator(), username=order.username, email=order.email, client=client
    )
    insert = "INSERT INTO shop_orders (account_id, item) VALUES ($1, $2)"
    await connection.execute(insert, account.id, order.item)
    return {"account": str(account.id)}
