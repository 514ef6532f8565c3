"""The command line, one file a command; nothing heavy is imported until a command runs."""

from frazil.cli.app import main as main
