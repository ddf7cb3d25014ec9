"""Jobs whose whole payload is sealed: queues are dumped, logged and looked at."""

import json
from uuid import UUID

from .ports.delivery import Job, JobName
from .ports.security import Cipher, SealPurpose


def sealed_job(cipher: Cipher, job_id: UUID, name: JobName, values: dict[str, str | None]) -> Job:
    sealed = cipher.seal(SealPurpose.JOB, json.dumps(values).encode())
    return Job(id=job_id, name=name, payload={"sealed": sealed.hex()})


def unseal(cipher: Cipher, job: Job) -> dict[str, str | None]:
    """Open the payload; raises SealBroken."""
    opened = cipher.open(SealPurpose.JOB, bytes.fromhex(job.payload["sealed"]))
    values: dict[str, str | None] = json.loads(opened)
    return values
