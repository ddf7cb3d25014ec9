import pytest

from gatepost import Policies
from gatepost.domain.accounts import AccountPolicy
from tests.unit.application.service import Service


@pytest.fixture
async def service() -> Service:
    made = Service()
    await made.install_keys()
    return made


@pytest.fixture
async def open_service() -> Service:
    """A service that lets people in before they prove their address."""
    made = Service(Policies(accounts=AccountPolicy(require_verified_email=False)))
    await made.install_keys()
    return made
