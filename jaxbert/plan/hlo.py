"""Reads the text of a compiled HLO module: collectives, cycles and bytes, with the run counts of the loops around them.

XLA's own cost analysis counts the body of a loop once. This module multiplies by the trip counts. Imports no jax.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Collective:
    """One collective of the compiled program.

    Attributes:
      op: its name in HLO: all-gather, all-reduce, reduce-scatter, all-to-all, collective-permute.
      axes: mesh axes over which its groups run.
      bytes: bytes of its input or of its output on one device, whichever is larger, for one run.
      count: number of runs in a step, from the trip counts of the loops around it.
    """

    op: str
    axes: tuple[str, ...]
    bytes: float
    count: int


@dataclass(frozen=True)
class Instruction:
    """One instruction of a computation.

    Attributes:
      name: its name.
      op: its operation, for example "fusion".
      shapes: text of the shapes of its result.
      operands: names of the instructions whose results it takes.
      line: its whole line.
    """

    name: str
    op: str
    shapes: str
    operands: tuple[str, ...]
    line: str


@dataclass
class Computation:
    """The instructions of one computation, in the order of the text."""

    instructions: dict[str, Instruction] = field(default_factory=dict)
    root: str = ""
    parameters: dict[int, str] = field(default_factory=dict)

    def users(self, name: str) -> Iterator[Instruction]:
        """Yields the instructions that take the result of `name`."""
        return (one for one in self.instructions.values() if name in one.operands)


_KINDS = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute|ragged-all-to-all"
_COLLECTIVE = re.compile(rf"({_KINDS})(-start)?")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*)$")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{")
_NAME = re.compile(r"%([\w.\-]+)")
_CONSTANT = re.compile(r"= [su]\d+\[\][^ ]* constant\((\d+)\)")
_ARRAY = re.compile(r"\b(pred|[suf]\d+|bf16|f8\w*|c64)\[([\d,]*)\](\{[^}]*\})?")
_WIDTH = {"pred": 1, "bf16": 2, "c64": 8}
_CHANNEL = re.compile(r"channel_id=(\d+)")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_CALLS = re.compile(r"\bcalls=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_APPLIES = re.compile(r"\bto_apply=%?([\w.\-]+)")
# Instructions that move no bytes of HBM, or whose bytes another instruction has.
_STILL = frozenset(
    (
        *("parameter", "constant", "tuple", "get-tuple-element", "bitcast"),
        *("while", "conditional", "call", "after-all", "partition-id"),
        *("replica-id", "iota", "copy-done", "slice-done", "async-start"),
        *("async-done", "async-update", "opt-barrier", "all-reduce-done", "all-gather-done"),
        "fusion-done",
        *("collective-permute-done", "dynamic-slice-done", "dynamic-update-slice-done"),
    )
)
# `fusion-start` is that of a kernel which runs beside others, on GPUs.
_FUSED = ("fusion", "fusion-start")
# A Pallas kernel, of which libtpu estimates no cycles.
KERNEL = 'custom_call_target="tpu_custom_call"'
# A product of cuBLAS or a kernel of cuDNN.
_LIBRARY = 'custom_call_target="__cu'


class Module:
    """A compiled module. It reads the text once."""

    def __init__(self, text: str):
        self.computations: dict[str, Computation] = {}
        self.entry = ""
        current: Computation | None = None
        for line in text.splitlines():
            if begun := _COMPUTATION.match(line):
                current = self.computations.setdefault(begun.group(2), Computation())
                if begun.group(1):
                    self.entry = begun.group(2)
            elif line == "}":
                current = None
            elif current is not None and (found := _INSTRUCTION.match(line)):
                root, name, shapes, op, rest = found.groups()
                operands = tuple(_NAME.findall(rest.partition(")")[0]))
                current.instructions[name] = Instruction(name, op, shapes, operands, line)
                if root:
                    current.root = name
                if op == "parameter":
                    current.parameters[int(rest.partition(")")[0])] = name
        self.runs = self._runs()

    def _runs(self) -> dict[str, int]:
        """Returns the number of runs in a step of each computation that the program runs, fused ones left out."""
        times: dict[str, int] = {}

        def visit(name: str, count: int) -> None:
            if name not in self.computations:
                return
            times[name] = times.get(name, 0) + count
            for one in self.computations[name].instructions.values():
                inner = count * self._trips(one.line) if one.op == "while" else count
                for called in _called(one):
                    visit(called, inner)

        visit(self.entry, 1)
        return times

    def _trips(self, line: str) -> int:
        """Returns the number of runs of a scan, from the line of its loop.

        XLA's compiler for GPUs writes the number into the line. Otherwise it is the constant with which the loop's
        condition compares the counter.
        """
        if known := _TRIPS.search(line):
            return int(known.group(1))
        condition = re.search(r"\bcondition=%?([\w.\-]+)", line)
        if condition is None:
            return 1
        found = self.computations.get(condition.group(1), Computation()).instructions.values()
        return max((int(known.group(1)) for one in found if (known := _CONSTANT.search(one.line))), default=1)

    def executed(self) -> Iterator[tuple[Computation, Instruction, int]]:
        """Yields (computation, instruction, its runs in a step) of all that the program runs, without fused parts."""
        for name, count in self.runs.items():
            computation = self.computations[name]
            for one in computation.instructions.values():
                yield computation, one, count

    def collectives(self, sizes: Mapping[str, int]) -> Iterator[Collective]:
        """Yields the collectives, each channel once.

        Args:
          sizes: sizes of the mesh's axes, outermost first. Device numbers follow this order.
        """
        seen: set[tuple[str, float, str]] = set()
        runs = dict(self.runs)
        # An asynchronous collective may be in a computation that a fusion calls, and there in one that another core of
        # the chip runs.
        for _, one, count in self.executed():
            if one.op == "fusion" and (called := _CALLS.search(one.line)):
                runs.setdefault(called.group(1), count)
        for name, count in list(runs.items()):
            for one in self.computations.get(name, Computation()).instructions.values():
                if one.op == "call-start" and (called := _APPLIES.search(one.line)):
                    runs.setdefault(called.group(1), count)
        for name, count in runs.items():
            for one in self.computations.get(name, Computation()).instructions.values():
                found = _COLLECTIVE.fullmatch(one.op)
                if found is None:
                    continue
                kind, start = found.groups()
                axes = _axes(one.line, sizes, kind)
                if not axes:
                    continue
                size = size_of(one.shapes)
                if start and one.shapes.startswith("(("):
                    # (shapes of several inputs, shapes of their outputs), on GPUs.
                    inputs, _, outputs = one.shapes.partition(")")
                    size = max(size_of(inputs), size_of(outputs))
                elif kind == "reduce-scatter":
                    # The whole array of the group. Of several slices, a group may be the part of an axis in one slice.
                    group = _first_group(one.line, kind)
                    size *= math.prod(sizes[axis] for axis in axes) if group is None else len(group)
                elif kind == "all-gather" and start:
                    # (shapes of the input, shapes of the output)
                    size = max(size_of(shape) for shape in re.split(r"(?<=\}), ", one.shapes))
                # The parts of an asynchronous collective repeat it with its channel. Other kinds use the number again.
                channel = _CHANNEL.search(one.line)
                key = (kind, size, channel.group(1)) if channel else (kind, size, f"{name}:{one.name}")
                if key in seen:
                    continue
                seen.add(key)
                yield Collective(kind, axes, size, count)

    def cycles(self) -> float:
        """Returns the sum of libtpu's `estimated_cycles` over a step, collectives and Pallas kernels left out."""
        return float(sum(count * cycles_of(one) for _, one, count in self.executed()))

    def kernels(self) -> int:
        """Returns the number of runs of Pallas kernels in a step."""
        return sum(count for _, one, count in self.executed() if KERNEL in one.line)

    def bytes(self) -> float:
        """Returns the bytes that a step reads and writes in HBM, without tiles' padding."""
        return sum(count * self.moved(computation, one) for computation, one, count in self.executed())

    def moved(self, computation: Computation, one: Instruction) -> float:
        """Returns the bytes of HBM that one run of an instruction reads and writes.

        An operand of which the instruction reads only slices counts as much as the slices. A result that is updated in
        place counts as much as the update.
        """
        if one.op in _STILL or _COLLECTIVE.fullmatch(one.op):
            return 0.0
        if one.op == "custom-call" and KERNEL not in one.line and _LIBRARY not in one.line:
            return 0.0  # It only names memory, for example AllocateBuffer.
        shapes = [computation.instructions[name].shapes for name in one.operands if name in computation.instructions]
        if one.op in ("copy-start", "slice-start", "dynamic-slice-start"):
            target = _arrays(one.shapes)[0] if one.op == "copy-start" else _arrays(one.shapes)[-2]
            if one.op == "copy-start":
                source = _arrays(shapes[0])[0]
                return _in_hbm(target) + _in_hbm(source)
            return _in_hbm(target) + (_whole(target) if _in_hbm(_arrays(shapes[0])[0]) else 0.0)
        if one.op == "dynamic-slice":
            return hbm(one.shapes) + (size_of(one.shapes) if hbm(shapes[0]) else 0.0)
        if one.op == "dynamic-update-slice":
            return hbm(shapes[1]) + (size_of(shapes[1]) if hbm(one.shapes) else 0.0)
        called = _CALLS.search(one.line)
        if one.op not in _FUSED or called is None or called.group(1) not in self.computations:
            return sum(map(hbm, shapes)) + hbm(one.shapes)
        fused = self.computations[called.group(1)]
        read = sum(self._read(fused, number, size_of(shape)) for number, shape in enumerate(shapes) if hbm(shape))
        # The shapes of a start are those of its inputs and its results.
        results = one.shapes if one.op == "fusion" else fused.instructions[fused.root].shapes
        return read + self._written(fused, results)

    def _read(self, fused: Computation, number: int, whole: float) -> float:
        """Returns the bytes that a fused computation reads of its parameter `number`."""
        name = fused.parameters.get(number)
        if name is None:
            return whole
        found = 0.0
        waiting = [name]
        while waiting:
            current = waiting.pop()
            for user in fused.users(current):
                called = _CALLS.search(user.line)
                if user.op in ("bitcast", "copy-done"):
                    waiting.append(user.name)
                elif user.op in ("dynamic-slice", "slice") or (user.op == "gather" and user.operands[0] == current):
                    found += size_of(user.shapes)
                elif user.op == "dynamic-update-slice" and user.operands[0] == current:
                    continue
                elif user.op == "fusion" and called and called.group(1) in self.computations:
                    inner = self.computations[called.group(1)]
                    for place, operand in enumerate(user.operands):
                        if operand == current:
                            found += self._read(inner, place, whole)
                else:
                    return whole
                if found >= whole:
                    return whole
        return found

    def _written(self, fused: Computation, shapes: str) -> float:
        """Returns the bytes that a fused computation writes."""
        root = fused.instructions[fused.root]
        results = [fused.instructions[name] for name in root.operands] if root.op == "tuple" else [root]
        arrays = _arrays(shapes)
        if len(results) != len(arrays):
            return hbm(shapes)
        return sum(self._result(fused, one, array) for one, array in zip(results, arrays, strict=True))

    def _result(self, fused: Computation, one: Instruction, array: tuple[str, str, str]) -> float:
        if not _in_hbm(array):
            return 0.0
        while one.op == "bitcast" and one.operands[0] in fused.instructions:
            one = fused.instructions[one.operands[0]]
        if one.op == "dynamic-update-slice":
            return size_of(fused.instructions[one.operands[1]].shapes)
        called = _CALLS.search(one.line)
        if one.op == "fusion" and called and called.group(1) in self.computations:
            inner = self.computations[called.group(1)]
            root = inner.instructions[inner.root]
            if root.op != "tuple":
                return self._result(inner, root, array)
        return _whole(array)


def cycles_of(one: Instruction) -> int:
    """Returns libtpu's estimate of the cycles of one run of an instruction; 0 if it has none."""
    found = _CYCLES.search(one.line)
    return int(found.group(1)) if found else 0


def _called(one: Instruction) -> Iterator[str]:
    """Yields the computations that an instruction runs as programs, not as a part of itself."""
    if one.op == "while":
        yield from re.findall(r"\b(?:body|condition)=%?([\w.\-]+)", one.line)
    elif one.op == "call":
        yield from re.findall(r"\bto_apply=%?([\w.\-]+)", one.line)
    elif one.op == "conditional":
        for several in re.findall(r"\b(?:branch_computations|called_computations)=\{([^}]*)\}", one.line):
            yield from _NAME.findall(several)
        yield from re.findall(r"\b(?:true|false)_computation=%?([\w.\-]+)", one.line)
    elif one.op == "async-start":
        yield from re.findall(r"\b(?:calls|to_apply)=%?([\w.\-]+)", one.line)


def _arrays(shapes: str) -> list[tuple[str, str, str]]:
    """Returns (type, sides, layout) of every array of a shape."""
    return _ARRAY.findall(shapes)


def _whole(array: tuple[str, str, str]) -> float:
    kind, sides, _ = array
    width = _WIDTH.get(kind) or int(re.sub(r"\D", "", kind.split("e")[0]) or 8) // 8
    return float(width * math.prod(int(side) for side in sides.split(",") if side))


def _in_hbm(array: tuple[str, str, str]) -> float:
    """Returns the bytes of an array in HBM: 0 if its layout puts it into the memory of the core, `S(1)` and others."""
    return 0.0 if re.search(r"S\([1-9]\)", array[2]) else _whole(array)


def size_of(shapes: str) -> float:
    """Returns the bytes of all arrays of a shape."""
    return sum(map(_whole, _arrays(shapes)))


def hbm(shapes: str) -> float:
    """Returns the bytes of the arrays of a shape that are in HBM."""
    return sum(map(_in_hbm, _arrays(shapes)))


def _axes(rest: str, sizes: Mapping[str, int], kind: str) -> tuple[str, ...]:
    """Returns the mesh axes along which the devices of a group differ."""
    group = _first_group(rest, kind)
    if group is None:
        return tuple(axis for axis, size in sizes.items() if size > 1)
    places = [_place(device, sizes) for device in group]
    return tuple(axis for axis in sizes if len({place[axis] for place in places}) > 1)


def _place(device: int, sizes: Mapping[str, int]) -> dict[str, int]:
    found = {}
    for axis in reversed(list(sizes)):
        device, found[axis] = divmod(device, sizes[axis])
    return found


# Numbers from 0, as an array of these sides, whose axes are then put into an order.
_IOTA = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"


def _numbers(sides: str, order: str | None) -> list[int]:
    """Returns the numbers of an array that HLO writes as `_IOTA`."""
    import numpy as np

    shape = [int(side) for side in sides.split(",")]
    found = np.arange(math.prod(shape)).reshape(shape)
    if order:
        found = found.transpose([int(axis) for axis in order.split(",")])
    return [int(number) for number in found.ravel()]


def _first_group(rest: str, kind: str) -> list[int] | None:
    """Returns the devices of the first group, in any of HLO's five notations. None means all devices."""
    if kind == "collective-permute":
        pairs = re.search(r"source_target_pairs=\{\{(\d+),(\d+)\}", rest)
        return [int(pairs.group(1)), int(pairs.group(2))] if pairs else None
    meshed = re.search(rf"replica_groups=mesh\[(.*?)\](?:, device_ids=\({_IOTA}\))? ?\{{(.*?)\}}", rest)
    if meshed:
        sides = [int(side) for side in re.findall(r"=(\d+)", meshed.group(1))]
        names = re.findall(r"'(\w+)'=", meshed.group(1))
        taken = set(re.findall(r"'(\w+)'", meshed.group(4)))
        group = [0]
        stride = 1
        for name, side in reversed(list(zip(names, sides, strict=True))):
            if name in taken:
                group = [base + step * stride for base in group for step in range(side)]
            stride *= side
        # The group has places of the mesh. Without a list of its devices, they are the devices' numbers.
        numbers = _numbers(meshed.group(2), meshed.group(3)) if meshed.group(2) else range(stride)
        return [numbers[place] for place in group]
    iota = re.search(rf"replica_groups=\[(\d+),(\d+)\]<={_IOTA}", rest)
    if iota:
        return _numbers(iota.group(3), iota.group(4))[: int(iota.group(2))]
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", rest)
    return [int(device) for device in listed.group(1).split(",")] if listed else None
