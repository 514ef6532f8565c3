"""`python -m frazil` is the same as `frazil`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C before a command begins ends as it does later."""
    try:
        from frazil.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
