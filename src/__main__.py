"""`python -m gatepost`."""

from .entrypoints.cli import main

main()
