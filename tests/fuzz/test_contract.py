"""Every operation under generated requests, as user and as administrator (`make fuzz`)."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.service import PASSWORD, Service, running, signed_in

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "200")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("fuzz") / "service"
    with running(folder, LOG_LEVEL="WARNING") as started:
        with httpx2.Client(base_url=started.url, timeout=30) as client:
            signed_in(client, started, "fuzzed")
        subprocess.run(
            [
                *(sys.executable, "-m", "gatepost", "admin", "create", "--username", "fuzzing"),
                *("--email", "fuzzing@example.com", "--password-stdin"),
            ],
            input=PASSWORD,
            env=os.environ | {"GATEPOST_DATA_DIR": str(started.folder)},
            text=True,
            check=True,
            capture_output=True,
        )
        yield started


@pytest.mark.parametrize(
    "login", ["fuzzed@example.com", "fuzzing@example.com"], ids=["as_user", "as_administrator"]
)
def test_in_09_in_10_every_answer_is_as_documented(
    service: Service, login: str, tmp_path: Path
) -> None:
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
        "FUZZ_URL": service.url,
        "FUZZ_LOGIN": login,
        "FUZZ_PASSWORD": PASSWORD,
    }
    program = str(Path(sys.executable).with_name("schemathesis"))
    done = subprocess.run(
        [
            *(
                program,
                "--config-file",
                str(Path(__file__).with_name("schemathesis.toml")),
                "run",
                f"{service.url}/openapi.json",
                "--checks",
                "all",
            ),
            *("--max-examples", EXAMPLES, "--continue-on-failure", "--workers", "1"),
            *("--generation-database", "none", "--request-timeout", "10"),
            *("--output-sanitize", "true", "--no-color"),
        ],
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0
    assert '"level": "error"' not in service.log()
