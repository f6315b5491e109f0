"""The page about runs: one HTML file that needs no network, with charts, tables, predictions and a small model.

`read.py` reads workdirs, `axes.py` converts steps to tokens, epochs and hours, `charts.py` makes the data of the
curves, `figures.py` the tables, `predictions.py` the predictions over time, `svg.py` the curves for browsers without
scripts, `png.py` the picture of the loss, and `page.py` puts all of it together. Of fine-tuned runs, `judged.py` reads
the judgement, `answers.py` shows it, and `seeds.py` compares several runs. `live.py` writes the page while a run goes
on. `static/` has the style and the script of the page, and `vendor/` the library that draws the charts. Nothing here
imports jax, so a page can be written on any machine that can read the workdir. (The config of a task with labels is in
the file of its task, which does.)
"""
