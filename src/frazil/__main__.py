"""`python -m frazil` is the same as `frazil`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still being imported ends as it does later."""
    try:
        from frazil.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
