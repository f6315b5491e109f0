"""Reads and writes the files of other systems. One table of names per family works in both directions.

`read.py` opens a published model, `hf.py` writes one, and `gate.py` compares what was written with the original. Each
format of weights is one file here and one entry in `FORMATS` of `read.py`.
"""
