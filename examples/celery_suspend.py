"""A Celery task over the use cases: billing asks that an account which does not pay be suspended.

The task comes again when Gatepost is busy or away, and is harmless when it comes twice. A refusal
that will not go away (there is no such account) ends it, and stands in the worker's log.

    BROKER_URL=redis://127.0.0.1:6379/0 celery --app examples.celery_suspend worker

and from billing `suspend.delay("ada")`, or by name without importing this:
`Celery(broker=...).send_task("gatepost.suspend", ["ada"])`. Settings are Gatepost's own; the
worker needs `DATABASE_URL`.
"""

import asyncio
import os

from celery import Celery

from gatepost import ClientContext, Principal, load_settings, open_gatepost
from gatepost.domain.errors import Overloaded, Unavailable

BILLING = ClientContext(user_agent="billing")

app = Celery("billing", broker=os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/0"))
app.conf.update(task_ignore_result=True, task_acks_late=True)


async def suspend_account(login: str) -> None:
    operator = Principal.operator()
    # Opened for each task: connections belong to the loop that made them, and this one ends.
    async with open_gatepost(load_settings(), load_keys=False) as gatepost:
        account = await gatepost.administration.show(actor=operator, login=login)
        await gatepost.administration.suspend(
            actor=operator, account_id=account.id, client=BILLING
        )


@app.task(  # type: ignore[untyped-decorator]
    name="gatepost.suspend",
    autoretry_for=(Unavailable, Overloaded),
    retry_backoff=True,
    max_retries=10,
)
def suspend(login: str) -> None:
    asyncio.run(suspend_account(login))
