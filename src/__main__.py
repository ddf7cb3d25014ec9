"""The command `gatepost`, and `python -m gatepost`."""

import sys

# As shells tell of a program that SIGINT ended.
_INTERRUPTED = 130


def main() -> None:
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _run() -> None:
    try:
        from .entrypoints.cli import command

        chosen = command(sys.argv[1:])
    except ModuleNotFoundError as missing:
        sys.exit(
            f"The command needs the extra gatepost[service]: {missing.name} is not installed."
        )
    chosen()


if __name__ == "__main__":
    main()
