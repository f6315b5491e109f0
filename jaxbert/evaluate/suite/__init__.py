"""Suites: many evaluations of a model, listed in one file, in one table with intervals.

To add a kind of task: a file here with a class derived from `base.Kind`, and one line in `KINDS` of kinds.py.
"""
