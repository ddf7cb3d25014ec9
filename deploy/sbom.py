"""List what is shipped: a CycloneDX file, and licences, each of which must be accepted.

`python deploy/sbom.py check` looks at licences alone; `python deploy/sbom.py FOLDER` writes both.
What a lock has for other platforms alone is not installed here, and left out.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

# Asks for nothing but a notice, also of who links it into a program of his own.
ACCEPTED = frozenset(
    ["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"]
)
# Spellings from before there were identifiers.
SPELLINGS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
}
LOCK = Path(__file__).parents[1] / "requirements.lock"


def shipped() -> Iterator[str]:
    """Name the packages of the image, as far as they are for this platform."""
    for name in re.findall(r"^([A-Za-z0-9._-]+)==", LOCK.read_text(), re.MULTILINE):
        try:
            metadata(name)
        except PackageNotFoundError:
            continue
        yield name


def licence(name: str) -> str:
    """Return an SPDX expression; where a package says nothing that can be read, its own words."""
    told = metadata(name)
    if expression := told.get("License-Expression"):
        return str(expression)
    if (one := _spelled(told.get("License") or "")) in ACCEPTED:
        return one
    classified = (
        line.rpartition(" :: ")[2]
        for line in told.get_all("Classifier", [])
        if line.startswith("License :: ")
    )
    # Several are a choice.
    return " OR ".join(sorted(map(_spelled, classified))) or one or "unknown"


def _spelled(words: str) -> str:
    return SPELLINGS.get(words, words)


def accepted(expression: str) -> bool:
    """Take any side of an OR and every side of an AND; nested ones are for people to read."""
    sides = [side.split(" AND ") for side in expression.split(" OR ")]
    return any(all(one.strip() in ACCEPTED for one in side) for side in sides)


def write(folder: Path, licences: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "cyclonedx_py", "environment", sys.executable]
    options = ["--output-reproducible", "--spec-version", "1.6"]
    done = subprocess.run([*command, *options], capture_output=True, check=True)  # noqa: S603
    bill = only(json.loads(done.stdout), set(licences))
    (folder / "gatepost.cdx.json").write_text(json.dumps(bill, indent=2) + "\n")
    lines = (f"{name}=={metadata(name)['Version']}  {one}\n" for name, one in licences.items())
    (folder / "licences.txt").write_text("".join(lines))


def only(bill: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Leave out of a bill what is installed for development; gatepost itself is the subject."""
    found = {_normal(one["name"]): one for one in bill["components"]}
    kept = [found[name] for name in sorted(names)]
    subject = found["gatepost"] | {"type": "application"}
    # The folder on this machine.
    subject.pop("externalReferences", None)
    references = {one["bom-ref"] for one in [*kept, subject]}
    bill["components"] = kept
    bill["metadata"]["component"] = subject
    bill["dependencies"] = [
        one | {"dependsOn": [ref for ref in one.get("dependsOn", []) if ref in references]}
        for one in bill["dependencies"]
        if one["ref"] in references
    ]
    return bill


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(argument: str) -> None:
    licences = {name: licence(name) for name in shipped()}
    refused = [f"{name}: {one}" for name, one in licences.items() if not accepted(one)]
    if refused:
        sys.exit("\n".join(["Licences that are not accepted:", *refused]))
    if argument != "check":
        write(Path(argument), licences)


if __name__ == "__main__":
    main(sys.argv[1])
