"""The command `gatepost`, and `python -m gatepost`."""

import sys


def main() -> None:
    try:
        from .entrypoints.cli import command

        run = command(sys.argv[1:])
    except ModuleNotFoundError as missing:
        sys.exit(
            f"The command needs the extra gatepost[service]: {missing.name} is not installed."
        )
    run()


if __name__ == "__main__":
    main()
