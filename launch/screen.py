"""The screen that the user sees before anything is sent, and everything that --dry-run shows."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping
from typing import Any

from jaxbert.core.chips import PROVIDERS

from .archive import jaxbert_version
from .job import Request, Submission, Target

_WIDTH = 100
_INDENT = 12


def lines(
    request: Request,
    submission: Submission,
    target: Target,
    figures: Mapping[str, Any] | None,
    remembered: bool,
    *,
    sizes_from: str = "",
) -> list[str]:
    """Returns the lines of the screen: what is created where, what it costs, how it resumes, how to watch and stop it.

    Args:
      request: the user's request.
      submission: the target's answer.
      target: the engine.
      figures: the figures of `jaxbert plan --json`; None if nothing was planned.
      remembered: whether an earlier launch made the figures.
      sizes_from: the option whose model gives the run its sizes, so that nothing was planned; "" if there is none.
    """
    place = request.topology
    where = f" on {place.name}" if place is not None else ""
    many = f", {place.slices} slices" if place is not None and place.slices > 1 else ""
    workdir = shlex.quote(request.workdir)
    archive = request.archive
    older = f" (older drivers: {archive.older})" if archive.older else ""
    lock = f"; environment: {archive.lock}{older}" if archive.lock else f"; environment: {submission.environment}"
    rows: list[tuple[str, str]] = [
        *(("creates" if index == 0 else "", line) for index, line in enumerate(submission.creates)),
        ("where", submission.where),
        ("workdir", request.workdir),
        ("code", f"jaxbert {jaxbert_version()}, {archive.files} files, sha256 {archive.sha256[:16]}{lock}"),
    ]
    if figures is not None:
        rows += _plan(figures, target.seller(request.options), _other_price(request), submission)
        if remembered:
            rows.append(("", "(planned before for the same config, topology and code)"))
    elif sizes_from:
        unknown = f"not known, nor the time and the costs: the run takes its sizes from {sizes_from}, which only the "
        rows.append(("fits", f"{unknown}job opens. `jaxbert plan` shows them for a config that has the same sizes"))
    else:
        rows.append(("costs", "not known, because without --topology nothing is planned"))
    if request.secrets:
        rows.append(("secrets", ", ".join(request.secrets) + ", by reference"))
    rows += [
        ("resumes", f"{submission.resumes}. It continues from the last checkpoint in the workdir"),
        ("ends", submission.ends),
        ("watch", f"jaxbert launch status --workdir {workdir}"),
        ("", f"jaxbert launch logs --workdir {workdir}"),
        ("stop", f"jaxbert launch stop --workdir {workdir}"),
    ]
    found = [f"{request.config}{where}{many}, by {target.name}, as {request.name}"]
    for word, text in rows:
        found += _row(word, text)
    return found


def _other_price(request: Request) -> str:
    """Returns why the job's machines cost another price than the on-demand one; "" if they do not."""
    if request.spot:
        return "spot costs less"
    if getattr(request.options, "flex_start", False):
        return "flex-start costs less"
    if getattr(request.options, "reserved", False) or getattr(request.options, "reservation", None):
        return "a reservation has its own price"
    machine = getattr(request.options, "machine_type", None)
    if machine and request.topology is not None and request.topology.chip.kind == "gpu":
        return f"a price of {machine} is not known"
    return ""


def _plan(figures: Mapping[str, Any], provider: str, other: str, submission: Submission) -> list[tuple[str, str]]:
    """Returns the rows (word, text) of a plan.

    Args:
      figures: the figures of `jaxbert plan --json`.
      provider: the seller of the machines; "" if it is not known.
      other: why the machines cost another price; "" if they do not.
      submission: the target's answer, which says how many runs there are.
    """
    runs = len(submission.runs)
    one, every = (" for one run", f"for all {runs} runs") if runs else (" in all", "")
    bill, price, chips = figures["bill"], figures["price"], figures["chips"]
    used = max((sum(phase["memory_bytes"].values()) for phase in figures["phases"]), default=0)
    # A price that the user gives is that of the job's machines.
    cheaper = f"; {other}" if other and price is not None and not price["source"].startswith("given") else ""
    has = f"{figures['hbm_bytes'] / 2**30:.1f} GiB a {'chip' if figures['devices'] == chips else 'device'}"
    rows = [
        ("fits", f"{used / 2**30:.1f} GiB of {has}, by {figures['judged_by']}"),
        (
            "takes",
            f"{_time(bill['hours'])} without interruptions, {bill['chip_hours']:,.0f} chip-hours{one if runs else ''}",
        ),
    ]
    if runs:
        at_once = min(submission.at_once or runs, runs)
        hours = -(-runs // at_once) * bill["hours"]
        how = "all run at once" if at_once == runs else f"{at_once} run at once"
        rows.append(("", f"{_time(hours)}, {runs * bill['chip_hours']:,.0f} chip-hours {every}, if {how}"))
    if price is None:
        whose = "who sells these machines is not known"
        if provider:
            whose = f"no on-demand price of {PROVIDERS[provider]} is known"
        return [*rows, ("costs", f"not known: {whose}. Give --price, the price of a chip-hour")]
    an_hour = f"{price['per_hour'] * chips:,.2f} {price['currency']} an hour"
    each = f"{an_hour}, {bill['money']:,.0f} {bill['currency']}{one}, at {price['per_hour']:.2f} a chip-hour"
    return [
        *rows,
        ("costs", each),
        *([("", f"{runs * bill['money']:,.0f} {bill['currency']} {every}")] if runs else []),
        ("", f"({price['source']}{cheaper})"),
    ]


def _time(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"


def _row(word: str, text: str) -> list[str]:
    # A command stays on one line, so that it can be copied.
    wrapped = (
        [text]
        if text.startswith("jaxbert launch")
        else (textwrap.wrap(text, _WIDTH - _INDENT, break_on_hyphens=False, break_long_words=False) or [""])
    )
    return [f"  {word if number == 0 else '':<{_INDENT - 2}}{line}" for number, line in enumerate(wrapped)]


def everything(submission: Submission) -> list[str]:
    """Returns the lines of every file and command of a submission."""
    found = ["", "files:"]
    for file in submission.files:
        if file.is_text and len(file.content) < 100_000:
            found += [f"--- {file.path}", *file.content.decode().rstrip("\n").split("\n"), ""]
        else:
            found.append(f"--- {file.path}  ({len(file.content):,} bytes)")
    found.append("commands:")
    asked = [submission.question.command] if submission.question is not None else []
    for command in (*asked, *submission.commands):
        found += [f"# {command.does}", command.line()]
    return [*found, "", "Nothing was sent."]
