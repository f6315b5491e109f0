"""The commands, a file each: `add_arguments` describes the command line, `run` does the work and returns the figures.

The docstring of a command's file is its summary in `--help`. To add a command: a file here, and a line in
`jaxbert.commands.main.COMMANDS`. No file imports anything heavy at its top, so `--help` and mistakes answer at once.
"""
