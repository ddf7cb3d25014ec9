"""Where settings stand: the environment, `.env`, and `NAME_FILE` for every secret."""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values

PREFIX = "GATEPOST_"
SECRET_NAMES = (
    "DATABASE_URL",
    "DATABASE_DIRECT_URL",
    "REDIS_URL",
    f"{PREFIX}SECRETS__KEYS",
    f"{PREFIX}MAIL__URL",
    f"{PREFIX}JOBS__RELAY_URL",
    f"{PREFIX}EXPORTS__ACCESS_KEY_ID",
    f"{PREFIX}EXPORTS__SECRET_ACCESS_KEY",
)
_DOTENV = ".env"


@dataclass
class Found:
    """Values by the names of their settings, and what is wrong with where they stand."""

    values: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    # The file that each secret was read from; none for one from the environment.
    files: dict[str, Path] = field(default_factory=dict)

    def add(
        self, given: Mapping[str, str], known: Collection[str], source: Path | None = None
    ) -> None:
        """Take over one place; what was found before in another is replaced."""
        self.problems += _unknown(given, known)
        spelled = {name.upper(): value for name, value in given.items()}
        files = {name: f"{name}_FILE" for name in SECRET_NAMES if f"{name}_FILE" in spelled}
        for name, file in files.items():
            if name in spelled:
                self.problems.append(f"{name}: given twice, also as {file}")
            else:
                self._read(name, file, spelled[file])
        self.values |= {name: value for name, value in spelled.items() if name in known}
        for name in spelled.keys() & set(SECRET_NAMES):
            self.files.pop(name, None)
            if source is not None:
                self.files[name] = source

    def _read(self, name: str, file: str, path: str) -> None:
        try:
            self.values[name] = Path(path).read_text(encoding="utf-8").strip()
            self.files[name] = Path(path)
        except (OSError, ValueError):
            self.problems.append(f"{file}: cannot be read")

    def refuse_empty(self) -> None:
        """An empty secret is one that got lost on its way, and no wish for the default."""
        for name in SECRET_NAMES:
            if name in self.values and not self.values[name].strip():
                del self.values[name]
                self.problems.append(f"{name}: empty")


def collect(known: Collection[str]) -> Found:
    """Read the settings of these names; the environment wins over `.env`."""
    found = Found()
    try:
        given = {name: value or "" for name, value in dotenv_values(_DOTENV).items()}
        found.add(given, known, source=Path(_DOTENV))
    except (OSError, UnicodeDecodeError):
        found.problems.append(f"{_DOTENV}: cannot be read as UTF-8")
    found.add(os.environ, known)
    found.refuse_empty()
    return found


def _unknown(given: Mapping[str, str], known: Collection[str]) -> Iterator[str]:
    files = {f"{name}_FILE" for name in SECRET_NAMES}
    for name in sorted(given):
        if name.upper().startswith(PREFIX) and name.upper() not in {*known, *files}:
            yield f"{name}: no such setting"
