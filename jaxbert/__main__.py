"""`python -m jaxbert`."""

from __future__ import annotations

from jaxbert.commands.main import entry

if __name__ == "__main__":
    entry()
