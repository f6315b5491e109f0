"""Records what a run does: logs, clocks, energy, curves, pages, and where a model comes from.

A run writes two files of JSON lines (docs/decisions/0004):

- metrics.jsonl has what the run computes, such as losses and learning rates (`lines.py`). A resumed run cuts it back to
  the restored step, so that it ends with the same bytes as a run that was never interrupted.
- telemetry.jsonl has what clocks and meters measure, such as tokens per second, MFU and joules (`meter.py`). It is
  never cut back, because time and energy that were spent on lost steps stay spent.
"""
