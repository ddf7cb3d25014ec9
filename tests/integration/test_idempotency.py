"""Repeated requests on a real server, where they really run at once."""

import asyncio
from dataclasses import replace

import asyncpg
import httpx2

from gatepost import Policies, assemble
from gatepost.adapters.memory import memory_ports
from gatepost.adapters.postgres.callers import PostgresCallers
from gatepost.adapters.postgres.transactions import PostgresUnitOfWork
from gatepost.domain.limits import LimitPolicy
from gatepost.entrypoints.http.app import create_app

ADA = {"username": "ada", "email": "ada@example.com", "password": "tin harp over seven hills"}


async def test_in_25_of_many_at_once_one_registers_and_the_rest_repeat_or_are_told_to_wait(
    url: str, uow: PostgresUnitOfWork, callers: PostgresCallers
) -> None:
    ports = replace(memory_ports(), uow=uow, callers=callers)
    app = create_app(assemble(ports, Policies(limits=LimitPolicy(enabled=False))))
    headers = {"Idempotency-Key": "k-1"}

    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:8000"
    ) as http:

        async def register() -> httpx2.Response:
            return await http.post("/v1/register", json=ADA, headers=headers)

        at_once = await asyncio.gather(*(register() for _ in range(30)))
        after = await register()
    fresh = [a for a in at_once if a.is_success and "idempotency-replayed" not in a.headers]
    assert len(fresh) == 1
    refused = [answer.json()["code"] for answer in at_once if not answer.is_success]
    assert set(refused) <= {"idempotency_key_in_use"}
    assert after.headers["idempotency-replayed"] == "true"
    assert after.content == fresh[0].content
    connection = await asyncpg.connect(url)
    registered = "SELECT count(*) FROM audit_events WHERE type = 'account.registered'"
    assert await connection.fetchval(registered) == 1
    assert await connection.fetchval("SELECT count(*) FROM idempotency_keys") == 1
    await connection.close()
