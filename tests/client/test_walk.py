"""A client that other makers' tools generate walks the contract (`make test-client`)."""

import os
import subprocess
import sys
from pathlib import Path

from tests.service import PASSWORD, running

HERE = Path(__file__).parent


def run(*command: str) -> None:
    subprocess.run(command, cwd=HERE, check=True)


def test_a_generated_client_type_checks_and_walks_the_contract(tmp_path: Path) -> None:
    run("npm", "ci", "--no-fund", "--no-audit")
    openapi = HERE.parents[1] / "docs" / "reference" / "openapi.json"
    generate = ("npx", "openapi-typescript", str(openapi), "--default-non-nullable", "false")
    run(*generate, "--output", "schema.d.ts")
    run("npx", "tsc")
    with running(tmp_path / "walk") as service:
        subprocess.run(
            [
                *(sys.executable, "-m", "gatepost", "admin", "create", "--username", "walking"),
                *("--email", "walking@example.com", "--password-stdin"),
            ],
            input=PASSWORD,
            env=os.environ | {"GATEPOST_DATA_DIR": str(service.folder)},
            text=True,
            check=True,
        )
        run("node", "out/walk.js", service.url, str(service.folder / "mail"), "walking")
