"""The job queue in memory passes the suite of job queues."""

import pytest

from gatepost.adapters.memory import MemoryStorage, MemoryUnitOfWork, MemoryWorker
from gatepost.testing.contracts.jobs import RETRIES, Work
from gatepost.testing.contracts.jobs import JobWorkContract as TestJobWork

__all__ = ["TestJobWork"]


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def uow(storage: MemoryStorage) -> MemoryUnitOfWork:
    return MemoryUnitOfWork(storage)


@pytest.fixture
def work(storage: MemoryStorage) -> Work:
    return MemoryWorker(storage, RETRIES)
