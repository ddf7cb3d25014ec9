"""The behaviour suite in this process, on memory."""

import pytest

from gatepost import Policies, assemble
from gatepost.adapters.memory import memory_ports
from gatepost.domain.limits import LimitPolicy
from tests.behaviour.drivers import InProcess, make_admin, tokens_in_memory
from tests.behaviour.suite import Behaviour as TestInMemory  # noqa: F401


@pytest.fixture
async def driver() -> InProcess:
    ports = memory_ports()
    gatepost = assemble(ports, Policies(limits=LimitPolicy(enabled=False)))
    await gatepost.keys.load()
    await make_admin(gatepost)
    return InProcess(gatepost, tokens_in_memory(gatepost, ports))
