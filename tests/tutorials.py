"""The pages under docs/tutorials: each is an example that the tests run, told by its docstring."""

import ast
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
FOLDER = ROOT / "docs" / "tutorials"
_MADE = "<!-- Made by `make reference` from the files under examples/. -->\n\n"
_GRPC = ("grpc_identity/service.py", "grpc_identity/refusals.py", "grpc_identity/identity.proto")

# The title of each page, and the files that it shows; the first tells what it is about.
TUTORIALS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "memory.md": ("A first look, in memory", ("memory_notebook.py",)),
    "fastapi.md": ("Check tokens in FastAPI", ("fastapi_orders.py",)),
    "django.md": ("Check tokens in Django", ("django_report.py",)),
    "typer.md": ("A command of your own", ("typer_offboard.py",)),
    "celery.md": ("A Celery task", ("celery_suspend.py",)),
    "grpc.md": ("Gatepost over gRPC", _GRPC),
}


def page(name: str) -> str:
    title, files = TUTORIALS[name]
    parts = [f"# {title}\n\n{_MADE}"]
    for number, file in enumerate(files):
        about, code = _split(file)
        heading = "" if number == 0 else f"## {file.rpartition('/')[2]}\n\n"
        language = "python" if file.endswith(".py") else "proto"
        parts.append(f"{heading}{about}`examples/{file}`:\n\n```{language}\n{code}```\n")
    return "\n".join(parts)


def _split(file: str) -> tuple[str, str]:
    """Part a file into what its docstring tells, and the code below."""
    text = (EXAMPLES / file).read_text(encoding="utf-8")
    if not file.endswith(".py"):
        return "", text
    tree = ast.parse(text)
    end = tree.body[0].end_lineno or 0
    code = "".join(text.splitlines(keepends=True)[end:]).lstrip("\n")
    return f"{ast.get_docstring(tree)}\n\n", code


def write_tutorials() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in TUTORIALS:
        (FOLDER / name).write_text(page(name), encoding="utf-8")
