"""Pinning images by digest, with a registry of our own."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.image.stack import FOLDER

INDEX = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
    }
).encode()
DIGEST = f"sha256:{hashlib.sha256(INDEX).hexdigest()}"
FILES = ("Dockerfile", "compose.yaml", "deploy/traefik/compose.yaml")


class Registry(BaseHTTPRequestHandler):
    """Has one index under every tag but `gone`."""

    def do_GET(self) -> None:
        self.send_response(404 if self.path.endswith("/manifests/gone") else 200)
        self.send_header("Content-Type", "application/vnd.oci.image.index.v1+json")
        self.send_header("Content-Length", str(len(INDEX)))
        self.send_header("Docker-Content-Digest", DIGEST)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(INDEX)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def project(tmp_path: Path, registry: str) -> Path:
    """The project's files, with images of that registry."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FOLDER / name, tmp_path / name)
        text = (tmp_path / name).read_text()
        for image in ("python:", "postgres:", "valkey/", "nginx:", "prom/", "traefik:"):
            for before in ("image: ", "PYTHON_IMAGE="):
                text = text.replace(f"{before}{image}", f"{before}{registry}/{image}")
        (tmp_path / name).write_text(text)
    return tmp_path


def pinned(project: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, f"{FOLDER}/deploy/pin.py", str(project)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_image_that_is_not_ours_gets_the_digest_of_its_tag(
    project: Path, registry: str
) -> None:
    done = pinned(project)
    assert done.returncode == 0, done.stderr
    assert f"ARG PYTHON_IMAGE={registry}/python:3.13-slim@{DIGEST}\n" in read(project, FILES[0])
    images = [line for name in FILES[1:] for line in read(project, name).splitlines()]
    images = [line.strip() for line in images if line.strip().startswith("image: ")]
    ours = [image for image in images if image.startswith("image: gatepost")]
    theirs = [image for image in images if image not in ours]
    assert len(theirs) == 5
    assert all(image.endswith(f"@{DIGEST}") for image in theirs)
    assert not any("@" in image for image in ours)
    before = [read(project, name) for name in FILES]
    assert pinned(project).returncode == 0
    assert [read(project, name) for name in FILES] == before, "a second time changes nothing"


def test_an_image_that_cannot_be_had_is_named_and_nothing_is_written(
    project: Path, registry: str
) -> None:
    compose = project / "compose.yaml"
    compose.write_text(compose.read_text().replace("postgres:17-alpine", "postgres:gone"))
    before = [read(project, name) for name in FILES]
    done = pinned(project)
    assert done.returncode == 1
    assert f"{registry}/postgres:gone: no digest, and nothing was written." in done.stderr
    assert [read(project, name) for name in FILES] == before


def read(project: Path, name: str) -> str:
    return (project / name).read_text()
