"""`python -m jaxbert`, and the `jaxbert` script."""

from __future__ import annotations

from typing import NoReturn

from jaxbert.core.signals import end_at_once


def entry() -> NoReturn:
    """Runs the `jaxbert` script. It answers signals before it imports the commands."""
    end_at_once()
    from jaxbert.commands.main import entry as run

    run()


if __name__ == "__main__":
    entry()
