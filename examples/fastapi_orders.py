"""A shop's own FastAPI service: its own tables, for callers who signed in at Gatepost.

It asks Gatepost for nothing but the published keys, and those every five minutes. Each route says
which scope it needs; what is not enough is answered as a problem detail, by the verifier.

    make run
    uvicorn examples.fastapi_orders:app --port 8001     # in another terminal

    curl -H "Authorization: Bearer $access" -d '{"item": "a kettle"}' \\
      -H 'Content-Type: application/json' http://127.0.0.1:8001/orders

The README says how to get `$access`. The packages are those of `gatepost[verifier]` and FastAPI.
"""

import os
import sqlite3
from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel, Field

from gatepost.verifier import AccessClaims
from gatepost.verifier.fastapi import Verifier

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:8000")
DATABASE = os.environ.get("ORDERS_DATABASE", "orders.sqlite")
TABLES = """
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY, customer TEXT NOT NULL, item TEXT NOT NULL
)
"""

verifier = Verifier(issuer=ISSUER, audience=os.environ.get("AUDIENCE", ISSUER))
Reader = Annotated[AccessClaims, Depends(verifier.require("account:read"))]
Writer = Annotated[AccessClaims, Depends(verifier.require("account:write"))]


def database() -> Iterator[sqlite3.Connection]:
    """Open a transaction that is kept unless the request fails."""
    connection = sqlite3.connect(DATABASE, check_same_thread=False)
    try:
        with connection:
            connection.execute(TABLES)
            yield connection
    finally:
        connection.close()


Database = Annotated[sqlite3.Connection, Depends(database)]


class NewOrder(BaseModel):
    item: str = Field(min_length=1, max_length=200)


class Order(NewOrder):
    id: int


app = FastAPI(title="Orders")
verifier.answer_refusals(app)


@app.post("/orders", status_code=201)
def place_order(order: NewOrder, caller: Writer, tables: Database) -> Order:
    # `sub` never changes and is never given to another account; names and addresses may be.
    cursor = tables.execute(
        "INSERT INTO orders (customer, item) VALUES (?, ?)", (str(caller.subject), order.item)
    )
    return Order(id=cursor.lastrowid or 0, item=order.item)


@app.get("/orders")
def list_own_orders(caller: Reader, tables: Database) -> list[Order]:
    rows = tables.execute(
        "SELECT id, item FROM orders WHERE customer = ? ORDER BY id", (str(caller.subject),)
    )
    return [Order(id=id_, item=item) for id_, item in rows]
