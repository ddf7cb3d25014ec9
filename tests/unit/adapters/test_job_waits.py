"""How long PgQueuer is told to wait after a failure."""

from datetime import timedelta
from uuid import uuid4

import pytest
from pgqueuer.domain import models
from pgqueuer.domain.errors import RetryRequested

from gatepost.adapters.postgres.attempts import Attempts
from gatepost.application.ports.delivery import Job, JobName
from gatepost.domain.jobs import RetryPolicy
from gatepost.testing.builders import NOW

AT_WORK = {
    "id": 1,
    "priority": 10,
    "status": "picked",
    "attempts": 20,
    "payload": None,
    "headers": {"job_id": str(uuid4())},
    "queue_manager_id": uuid4(),
    **dict.fromkeys(("created", "updated", "heartbeat", "execute_after"), NOW),
}


async def test_a_webhook_waits_longer_than_a_mail() -> None:
    async def run(job: Job) -> None:
        raise OSError

    policy, waits = RetryPolicy(), {}
    for name in (JobName.DELIVER_WEBHOOK, JobName.SEND_MAIL):
        row = models.Job.model_validate(AT_WORK | {"entrypoint": name.value})
        with pytest.raises(RetryRequested) as again:
            await Attempts(run, policy).make(row)
        waits[name] = again.value.delay
    assert waits[JobName.SEND_MAIL] <= policy.longest
    assert timedelta(minutes=5) <= waits[JobName.DELIVER_WEBHOOK] <= timedelta(minutes=10)
