"""A launch target as a newcomer writes it: one file. Its engine is the program `toy`."""

from __future__ import annotations

from argparse import Namespace

from jaxbert.launch.job import Command, Control, File, Request, Submission, Target


class Toy(Target):
    """See `jaxbert.launch.job.Target`."""

    name = "toy"
    summary = "a queue of this machine"
    kinds = ("gpu",)
    example = "--topology h100:8"

    def submission(self, request: Request) -> Submission:
        """See `Target`."""
        words = " ".join([*request.arguments, f"--workdir={request.workdir}"])
        file = File(request.folder / "job.txt", words.encode())
        return Submission(
            creates=(f"job {request.name}",),
            where="this machine",
            resumes="exit 3: restarted",
            ends="the job ends with the run",
            files=(file,),
            commands=(Command(("toy", "submit", request.name, str(file.path)), does="submit the job"),),
        )

    def control(self, name: str, options: Namespace, *, follow: bool = False) -> Control:
        """See `Target`."""
        return Control(
            status=(Command(("toy", "status", name)),),
            logs=(Command(("toy", "logs", name)),),
            stop=(Command(("toy", "stop", name)),),
        )
