"""Writes one self-contained HTML page about one or several runs, and a PNG of each run's loss curve.

The page needs no network: its style, its script, the library that draws the charts, and all data are in the file. Data
is thinned for long runs, and the page says so. It works while a run goes on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jaxbert.config import to_json, total_steps
from jaxbert.errors import InputError
from jaxbert.inputs.files import open_regular
from jaxbert.report import answers, predictions, seeds
from jaxbert.report.axes import axes_of, boundaries, most_pairs
from jaxbert.report.browser.block import model_block
from jaxbert.report.charts import Chart, charts_of, learning_curves, rounded, summary, table
from jaxbert.report.figures import (
    about,
    beside,
    cards,
    corpus,
    cost,
    evaluations,
    final_figures,
    processes,
    resumed,
    texts,
)
from jaxbert.report.markup import embedded, prose
from jaxbert.report.png import MARK, loss_png
from jaxbert.report.read import Run, read_run
from jaxbert.report.seeds import Finetuning, chosen_run, is_finetuning, read_finetuning
from jaxbert.report.svg import chart_svg
from jaxbert.stores.files import write_whole
from jaxbert.stores.workdir import PAGE, PNG, name_of

_log = logging.getLogger(__name__)


def write_report(
    workdirs: Sequence[Path], out: Path | None = None, *, png: bool = True, model: bool = True, warn: bool = True
) -> list[Path]:
    """Writes the page and a PNG of each loss curve, and returns their paths, the page's first.

    Args:
      workdirs: workdirs of the runs. The page shows them beside one another in this order. The workdir of a
        fine-tuning with several runs has a page about all of them; beside other workdirs it stands for its best run.
      out: directory for everything. None puts the page into the first workdir, and each PNG (loss.png) into its own
        workdir.
      png: whether to write the PNGs.
      model: whether the page about one run holds its model.
      warn: whether to log what is damaged in the workdirs; the page says it in any case.

    Raises:
      InputError: a directory holds no run, or a file of that name is not a report of jaxbert.
    """
    there = next((path for path in (out, *out.absolute().parents) if path.exists()), None) if out is not None else None
    if there is not None and not there.is_dir():
        raise InputError(
            "the path is a file, but a directory is needed",
            where=str(out),
            fix="Give another --out.",
            code="E-ARGUMENT-OUT",
        )
    labels = _labels(workdirs)
    several = read_finetuning(workdirs[0]) if len(workdirs) == 1 and is_finetuning(workdirs[0]) else None
    runs = [
        several.chosen if several else read_run(chosen_run(workdir) if is_finetuning(workdir) else workdir, label)
        for workdir, label in zip(workdirs, labels, strict=True)
    ]
    if warn:
        for said in several.damaged if several else ():
            _log.warning("%s: %s", several.workdir if several else "", said)
        for run in runs:
            for said in run.damaged:
                _log.warning("%s: %s", run.workdir, said)
    targets = [(out or workdirs[0]) / PAGE]
    targets += [
        (several.workdir if several else run.workdir) / PNG
        if out is None
        else out / f"loss-{re.sub(r'[^A-Za-z0-9._-]+', '-', run.label)}.png"
        for run in runs
        if png
    ]
    for path in targets:
        if path.exists() and not _ours(path):
            raise InputError(
                "a file of this name exists, and jaxbert did not write it",
                where=str(path),
                fix="Move it, or give --out DIR.",
                code="E-RUN-REPORT-FOREIGN",
            )
    # A model of a task with labels fills no masks.
    tried = model_block(workdirs[0]).html if model and len(runs) == 1 and not runs[0].labelled else None
    contents = [page(runs, tried, several).encode("utf-8"), *(loss_png(run) for run in runs if png)]
    targets[0].parent.mkdir(parents=True, exist_ok=True)
    for path, content in zip(targets, contents, strict=True):
        write_whole(path, content)
    return targets


def _labels(workdirs: Sequence[Path]) -> list[str]:
    """Returns labels that tell the paths apart: the last parts of each path, as few as possible."""
    paths = [path.resolve() for path in workdirs]
    if len(set(paths)) < len(paths):
        raise InputError("a workdir is given twice", where="report", fix="Give each once.", code="E-ARGUMENT-TWICE")
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in paths]


def _ours(path: Path) -> bool:
    with open_regular(path) as file:
        return MARK.encode() in file.read(2048)


def page(runs: Sequence[Run], model: str | None = None, several: Finetuning | None = None) -> str:
    """Returns the page as text.

    Args:
      runs: the runs, in their order on the page.
      model: HTML of a model that fills masks in the browser, with its script and data; None leaves the section out.
      several: the fine-tuning whose run to use is the only one of `runs`; None for other pages.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("jaxbert.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["prose"] = prose
    one = runs[0] if len(runs) == 1 else None
    drawn = several.drawn if several else runs
    charts = learning_curves(drawn, several.looks) if several else charts_of(runs)
    truths = predictions.charts(runs)
    every = [*charts, *truths]
    shown = [_shown(index, chart, drawn) for index, chart in enumerate(every)]
    groups = {
        name: [chart for chart in shown if chart["group"] == name] for name in ("Learning", "Optimizer", "Machine")
    }
    sentences = [{"label": run.label, "sentences": predictions.sentences(run)} for run in runs if run.predictions]
    corpora = [{"label": run.label, **found} for run in runs if any((found := corpus(run)).values())]
    tables = [found for run in runs if (found := evaluations(run))["rows"]]
    worked = [{"label": run.label, "said": resumed(run), "rows": processes(run)} for run in runs if run.processes]
    versions = beside([_versions(run) for run in runs])
    judged = answers.results(one) if one else None
    wrong = answers.errors(one) if one else None
    changed = answers.robustness(one) if one else []
    sections = [
        ("try", "Try it", model),
        ("settings", "Settings and seeds", several),
        ("answers", "Answers", judged),
        ("errors", "Worst errors", wrong),
        ("robustness", "Changed texts", changed),
        ("curves", "Curves", shown),
        ("predictions", "Predictions", sentences),
        ("corpus", "Corpus", corpora),
        ("figures", "Final figures", True),
        ("evaluations", "Evaluations", tables),
        ("run", "Run" if one else "Runs", True),
        ("config", "Config", True),
        ("versions", "Versions", versions),
    ]
    return environment.get_template("page.html").render(
        mark=MARK,
        heading=one.config.name if one else f"{len(runs)} runs: " + ", ".join(run.label for run in runs),
        runs=[_head_of_several(several)] if several else [_head(run) for run in runs],
        sections=[(name, title) for name, title, there in sections if there],
        model=model,
        cards=_cards(runs, several),
        settings=seeds.settings(several) if several else None,
        judged=judged,
        wrong=wrong,
        changed=changed,
        groups={name: found for name, found in groups.items() if found},
        axes=[name for name in ("tokens", "epochs", "hours") if all(name in axes_of(run) for run in drawn)],
        stopped=any(len(run.processes) > 1 for run in drawn),
        truths=shown[len(charts) :],
        sentences=sentences,
        corpora=corpora,
        final=beside([dict(final_figures(run)) for run in runs]),
        evaluations=tables,
        about=beside([dict(about(run)) for run in runs]),
        cost=beside([dict(cost(run)) for run in runs]),
        processes=worked,
        config=beside([texts(to_json(run.config)) for run in runs]),
        versions=versions,
        formula=next((one for run in runs if isinstance(one := run.facts.get("mfu_formula"), str)), ""),
        data=embedded(_data(every, drawn)),
        style=_file("vendor/uPlot.min.css") + _file("static/page.css"),
        library=_file("vendor/uPlot.iife.min.js"),
        licence=_file("vendor/LICENSE"),
        script=_file("static/page.js"),
    )


def _cards(runs: Sequence[Run], several: Finetuning | None) -> list[tuple[str, str]]:
    if several is not None:
        # The time is that of all runs.
        return [*seeds.cards(several), *(card for card in cards(several.chosen) if card[0] != "time")]
    return cards(runs[0]) if len(runs) == 1 else []


def _head(run: Run) -> dict[str, Any]:
    total = total_steps(run.config)
    return {
        "label": run.label,
        "name": run.config.name,
        "workdir": name_of(run.workdir),
        "state": f"finished, {total:,} steps" if run.ended else f"at step {run.steps:,} of {total:,}",
        "damaged": run.damaged,
    }


def _head_of_several(several: Finetuning) -> dict[str, Any]:
    run = several.chosen
    place = run.workdir.relative_to(several.workdir)
    return {
        "label": str(place),
        "name": run.config.name,
        "workdir": name_of(several.workdir),
        "state": seeds.state(several),
        "damaged": [*several.damaged, *(f"{place}: {said}" for said in run.damaged)],
    }


def _versions(run: Run) -> dict[str, str]:
    found = run.facts.get("versions")
    return texts(found) if isinstance(found, dict) else {}


def _shown(index: int, chart: Chart, runs: Sequence[Run]) -> dict[str, Any]:
    """Returns a chart as the template takes it."""
    return {
        "index": index,
        "title": chart.curve.title,
        "note": chart.curve.note,
        "group": chart.curve.group,
        "thinned": chart.thinned,
        "summary": summary(chart),
        "table": table(chart),
        "svg": chart_svg(chart, boundaries(runs[0])),
    }


def _data(charts: Sequence[Chart], runs: Sequence[Run]) -> dict[str, Any]:
    """Returns the data of the charts. Series with the same steps share one list of them."""
    steps: dict[tuple[int, ...], int] = {}
    drawn = []
    for chart in charts:
        series = []
        for one in chart.series:
            number = steps.setdefault(tuple(one.steps), len(steps))
            line = {"name": one.name, "run": one.run, "kind": one.kind, "colour": one.colour, "dash": one.dash}
            line |= {"steps": number, "values": rounded(one.values)}
            if one.group:
                line["group"] = one.group
            if one.strong:
                line["strong"] = True
            if one.low:
                line |= {"low": rounded(one.low), "high": rounded(one.high)}
            series.append(line)
        curve = chart.curve
        drawn.append({"title": curve.title, "form": curve.form, "log": curve.log, "zero": curve.zero, "series": series})
    return {
        "runs": [
            {
                "label": run.label,
                "axes": {
                    name: [[step for step, _ in pairs], rounded(value for _, value in pairs)]
                    for name, pairs in axes_of(run, most_pairs(len(runs))).items()
                },
                "phases": boundaries(run),
                "resumes": [one.first for one in run.processes[1:]],
            }
            for run in runs
        ],
        "steps": list(steps),
        "charts": drawn,
    }


def _file(name: str) -> str:
    return files("jaxbert.report").joinpath(name).read_text(encoding="utf-8")
