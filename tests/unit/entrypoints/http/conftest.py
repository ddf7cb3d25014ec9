import pytest

from tests.unit.entrypoints.http.service import Service, open_service


@pytest.fixture
async def service() -> Service:
    """Open a service that nobody has used."""
    return await open_service()


@pytest.fixture(scope="session")
async def shared() -> Service:
    """Open one service for all tests that leave nothing behind; making one takes a while."""
    return await open_service()
