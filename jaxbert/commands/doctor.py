"""Checks versions, devices, memory and disk, and says how to repair what does not work."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from jaxbert.commands.figures import write_figures
from jaxbert.errors import InputError

EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes the command line, which has no arguments."""


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Prints the findings.

    Raises:
      InputError: something that jaxbert needs is broken.
    """
    from jaxbert.observe.doctor import examine, lines

    findings = examine()
    print("\n".join(lines(findings)))
    figures = {"findings": [dataclasses.asdict(finding) for finding in findings]}
    broken = [finding.name for finding in findings if finding.state == "broken"]
    if broken:
        write_figures(args.json, figures)
        raise InputError(
            f"broken: {', '.join(broken)}", where="doctor", fix="Do what the lines above say.", code="E-DOCTOR-BROKEN"
        )
    return figures
