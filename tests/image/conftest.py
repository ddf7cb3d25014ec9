from collections.abc import Iterator

import httpx2
import pytest

from tests.image.stack import FOLDER, URL, run, trusting


@pytest.fixture(scope="session")
def stack() -> Iterator[None]:
    run("make", "down")
    run("make", "up")
    yield
    run("make", "down")
    for what in ("container", "network", "volume"):
        ours = "label=com.docker.compose.project=gatepost"
        assert run("docker", what, "ls", "--quiet", "--filter", ours) == "", what
    assert not (FOLDER / ".gatepost" / "compose").exists()


@pytest.fixture(scope="session")
def client(stack: None) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=URL, verify=trusting(), timeout=10) as client:
        yield client
