"""Pin every image by digest to what its registry has under the tag now; `make pin` runs it.

Asks by `docker buildx imagetools inspect`. All files are written or, where an image cannot be had,
none. Run again, it moves the pins on. The tag stays, for people; engines go by the digest.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

FILES = ("Dockerfile", "compose.yaml", "deploy/traefik/compose.yaml")
# Our own images are built here: no registry has them.
IMAGE = re.compile(
    r"^(?P<before>ARG PYTHON_IMAGE=|\s+image: )(?P<tag>(?!gatepost)[^\s@]+)(?:@\S+)?$",
    re.MULTILINE,
)


def digest_of(tag: str) -> str:
    """Return the digest of the index, which stands for the image of every platform."""
    command = ["docker", "buildx", "imagetools", "inspect", tag, "--format", "{{json .Manifest}}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        sys.exit(f"{tag}: no digest, and nothing was written.\n{done.stderr.strip()}")
    return str(json.loads(done.stdout)["digest"])


def main(folder: Path) -> None:
    files = {path: path.read_text() for path in (folder / name for name in FILES)}
    tags = {found["tag"] for text in files.values() for found in IMAGE.finditer(text)}
    digests = {tag: digest_of(tag) for tag in sorted(tags)}
    for path, text in files.items():
        path.write_text(IMAGE.sub(lambda m: f"{m['before']}{m['tag']}@{digests[m['tag']]}", text))
    for tag, digest in digests.items():
        sys.stdout.write(f"{tag}@{digest}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
