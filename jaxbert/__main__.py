"""`python -m jaxbert`."""

from __future__ import annotations

from jaxbert.cli import entry

if __name__ == "__main__":
    entry()
