"""The command line. Each command parses, calls one layer below, and prints."""

from bob.cli.main import main

__all__ = ["main"]
