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
    "shop.md": ("Orders and accounts in one transaction", ("shop_orders.py",)),
    "typer.md": ("A command of your own", ("typer_offboard.py",)),
    "celery.md": ("A Celery task", ("celery_suspend.py",)),
    "grpc.md": ("Gatepost over gRPC", _GRPC),
}


def page(name: str) -> str:
    title, files = TUTORIALS[name]
    parts = [f"# {title}\n\n{_MADE}"]
    for number, file in enumerate(files):
        path = EXAMPLES / file
        heading = f"## {path.name}\n\n" if number else ""
        language = "python" if path.suffix == ".py" else "proto"
        shown = f"`examples/{file}`:\n\n```{language}\n{code_of(path)}```\n"
        parts.append(f"{heading}{_about(path)}{shown}")
    return "\n".join(parts)


def code_of(path: Path) -> str:
    """Read a file without the docstring on top, which the page tells as text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text
    end = ast.parse(text).body[0].end_lineno or 0
    return "".join(text.splitlines(keepends=True)[end:]).lstrip("\n")


def _about(path: Path) -> str:
    if path.suffix != ".py":
        return ""
    return f"{ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))}\n\n"


def write_tutorials() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in TUTORIALS:
        (FOLDER / name).write_text(page(name), encoding="utf-8")
