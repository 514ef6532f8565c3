"""`python -m frazil` is the same as `frazil`."""

from frazil.cli import main

if __name__ == "__main__":
    main()
