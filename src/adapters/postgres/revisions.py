"""Which migrations this release has, without loading what runs them: a server only compares."""

from functools import cache
from pathlib import Path

_SCRIPTS = Path(__file__).with_name("migrations") / "versions"


def is_behind(revision: str | None) -> bool:
    """Tell whether a database at this revision lacks migrations of this release.

    A revision that is unknown here is a newer release's: while it is rolled out, the older one
    goes on serving.
    """
    known = revisions()
    return revision is None or (revision in known and revision != known[-1])


def is_ahead(revision: str | None) -> bool:
    """Tell whether a newer release migrated the database."""
    return revision is not None and revision not in revisions()


@cache
def revisions() -> tuple[str, ...]:
    """List the revisions, oldest first, by the names of their files."""
    names = sorted(path.stem for path in _SCRIPTS.glob("[0-9]*.py"))
    return tuple(name.partition("_")[0] for name in names)
