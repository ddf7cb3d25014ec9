"""What libraries import, and our own processes go without."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

# FastAPI asks whether a model is one of pydantic 1; where that is absent, none is. structlog
# draws tracebacks with rich, of which ours are not. dependency-injector wires Flask, whose
# requests are werkzeug's, and reads settings in YAML.
REFUSED = frozenset({"pydantic.v1", "rich", "werkzeug", "yaml"})
# Named at import and used by nobody here: certificates (PyJWT, against a mistake with shared
# keys), logging by a dictionary (uvicorn), the other drivers of the database (SQLAlchemy). Only
# what no thread of ours uses: before Python 3.13 two that come first at once may find it empty.
POSTPONED = frozenset(
    {
        "cryptography.x509",
        "logging.config",
        "sqlalchemy.dialects.postgresql.pg8000",
        "sqlalchemy.dialects.postgresql.psycopg2",
        "sqlalchemy.dialects.postgresql.psycopg2cffi",
    }
)


class _Later(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in POSTPONED else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def go_without() -> None:
    """Spare this process what nobody uses; to be called before the libraries are imported.

    What is postponed is loaded when it is used after all, or imported a second time. Only for a
    process that is all ours: embedders import what they like.
    """
    for name in REFUSED:
        # So an import fails, and a look whether it is there finds nothing.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    sys.meta_path.insert(0, _Later())
