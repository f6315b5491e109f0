"""A table of accelerators: the figures of each chip, the slices that are sold, prices and watts. Imports no jax.

The plan of a run and the MFU of a run read the same peaks here. libtpu compiles for shapes that nobody sells, so this
file has a table of the slices that are sold. Every figure has its source here or beside it. Check prices and watts
before you spend money: options of `jaxbert plan` replace both.

A figure of compute, memory or links is of one device, as jax counts devices. A chip of TPU v3 and of TPU7x is two
devices, so its figures are halved. A price and a power are of a whole chip.

Sources. These documents give the figures. We compared most figures with copies of the documents, and with pages and
repositories that quote them, of which we do not know the dates. The links and the clock of v3, the links of v4, the
cards L4, L40S, H100 PCIe, H100 NVL, H200 NVL and GH200, and TF32 of B200 were not compared with anything.
  TPU peaks, HBM bandwidth, links, slices: docs.cloud.google.com/tpu/docs/v3, v4, v5e, v5p, v6e and tpu7x. A link has
    its share of the published bidirectional bandwidth of a chip, half of it each way. The links of v3 (656 Gbit/s) are
    from Jouppi et al., "A domain-specific supercomputer for training deep neural networks" (2020), and those of v4 (50
    GB/s) from Jouppi et al., "TPU v4" (2023).
  TPU HBM: the memory that libtpu 0.0.42 gives a program. Its compiler refuses more; the package has more.
  TPU vector operations: lanes x arithmetic units x clock. Nobody publishes the product. The clock follows from the
    published peak. The units are from jax-ml.github.io/scaling-book, for v3 from Norrie et al., "The design process
    for Google's training chips" (2021), for v4 from Jouppi et al. (2023). For TPU7x they are assumed to be those of
    v6e.
  NVIDIA: the data sheets of V100 (2020), A100 (2022), L4 (2023), L40S (2023), H100 SXM, PCIe and NVL (2023), H200 SXM
    and NVL (2024), GH200 (2023), the Ada architecture paper for RTX 4090 (2022), the Blackwell architecture brief for
    B200 and GB200 (2024). Peaks that a sheet gives "with sparsity" only are halved. Vector operations: the peak of
    float32 outside tensor cores.
  AMD: the data sheet of MI300X (2023).
  GPU memory: what CUDA or HIP reports as the total of a card, which is less than the data sheet says. PyTorch's message
    of an allocation that fails prints it ("total capacity of 79.15 GiB"); these are the lowest of such reports.
  Networks of GPUs: a NIC of 400 Gbit/s for each GPU as in NVIDIA's HGX and AMD's reference designs of H100 and later,
    200 Gbit/s in a DGX A100, 100 Gbit/s for two GPUs in a DGX-1 of V100. Those of L4 and L40S (25 Gbit/s a GPU) and
    of RTX 4090 (10 Gbit/s) are assumed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

GIB = 2**30

# The share of a GPU's memory that a run takes for its arrays: the value of XLA_CLIENT_MEM_FRACTION. jax itself takes
# 0.75 (docs.jax.dev/en/latest/201/gpu-memory.html). The rest is for what lives outside jax's
# pool: the CUDA context, the code of kernels, NCCL's buffers and cuDNN's workspaces. They need 1 to 2 GB, and 8% of a
# card of 24 GB is 1.9 GB. jax refuses to start where XLA_PYTHON_CLIENT_MEM_FRACTION, the old name, is set too.
GPU_POOL_FRACTION = 0.92

# Providers by the names that prices have, and their names for people.
PROVIDERS: Mapping[str, str] = {
    "google": "Google Cloud",
    "aws": "AWS",
    "azure": "Azure",
    "lambda": "Lambda",
    "runpod": "RunPod",
}


@dataclass(frozen=True)
class Price:
    """The price of an hour of one chip, its host included.

    Attributes:
      per_hour: price in `currency`.
      source: the seller, the product and the date of the price.
      provider: a name of `PROVIDERS`; "" for a price that the user gives.
      currency: the currency.
      on_demand: whether machines that start at any time cost this. AWS sells Capacity Blocks for a time that one
        reserves ahead, and a launch starts no machines of these.
    """

    per_hour: float
    source: str
    provider: str = ""
    currency: str = "USD"
    on_demand: bool = True


@dataclass(frozen=True)
class Power:
    """The power of a chip with its share of the host, in watts.

    Attributes:
      watts: the figure that estimates use.
      low, high: bounds of the true figure.
      source: source of the figure; "assumed" if nobody publishes one.
      pue: power usage effectiveness of the data centre: all its power divided by the power of its machines.
      pue_source: source of `pue`.
    """

    watts: float
    low: float
    high: float
    source: str
    pue: float
    pue_source: str


@dataclass(frozen=True)
class Chip:
    """The figures of one accelerator that a roofline needs. Rates and memory are of one device of jax.

    Attributes:
      name: name in `--topology`.
      kind: "tpu", "gpu" or "cpu".
      flops: peak of matrix products of 16 bits, FLOP/s: bfloat16, or float16 where `bfloat16` is False.
      float32_flops: peak of matrix products of float32 at jax's default precision. On TPU such a product runs as
        bfloat16 passes, on NVIDIA's GPUs since A100 in TF32.
      vector: peak of all other operations, operations/s.
      hbm: bytes of memory that a program can use: on a GPU, `GPU_POOL_FRACTION` of the card's.
      hbm_bandwidth: bandwidth of this memory, bytes/s.
      links: number of links to neighbours in the fast network (ICI, NVLink, PCIe).
      link_bandwidth: bytes/s of a link, one way.
      hop: latency of a message over a link, seconds.
      network: bytes/s between slices or machines (DCN, InfiniBand), one way.
      chips_per_host: chips in a machine of a slice. For TPUs the figure is from libtpu's descriptions.
      large_host: chips of the larger machine that holds a slice of just so many chips; 0: there is no such machine.
      power: its power.
      prices: its prices, at most one of a provider.
      gather: bytes/s of table look-ups and their scattered gradients; 0: as fast as other memory.
      ring: number of chips at which a side closes to a ring; 0: the chip has no torus.
      cubes: whether a slice of one cube or more is a torus, in which every side is a ring.
      most_chips: the most chips of one program over several slices; 0: no limit is known.
      device_kinds: words of jax's name of the device. All words of one entry must be in the name.
      devices: devices of jax in one chip.
      bfloat16: whether it multiplies matrices of bfloat16. Where it does not, XLA computes them in float32.
      libtpu: name of the configuration of the chip that libtpu compiles for; "" for its default.
      measured: whether the rates were measured on this machine.
      own: whether the user gave the figures.
    """

    name: str
    kind: str
    flops: float
    float32_flops: float
    vector: float
    hbm: float
    hbm_bandwidth: float
    links: int
    link_bandwidth: float
    hop: float
    network: float
    chips_per_host: int
    power: Power
    prices: tuple[Price, ...] = ()
    gather: float = 0.0
    ring: int = 0
    cubes: bool = False
    most_chips: int = 0
    large_host: int = 0
    device_kinds: tuple[str, ...] = ()
    devices: int = 1
    bfloat16: bool = True
    libtpu: str = ""
    measured: bool = False
    own: bool = False

    @property
    def float32(self) -> float:
        """Returns the peak of float32 matrix products relative to `flops`."""
        return self.float32_flops / self.flops

    @property
    def price(self) -> Price | None:
        """Returns the first of its prices; None if no price is known."""
        return self.prices[0] if self.prices else None


_GOOGLE = "Google Cloud, on demand, US regions, list price that others quoted in 2025"
_AWS_BLOCKS = "AWS EC2 Capacity Blocks, US East (Ohio), list price of late 2024 that others quote, instance of 8"
_AWS = "AWS, on demand, us-east-1, instance of 8, list price that others quoted in November 2026"
_AZURE = "Azure, on demand, instance of 8, list price that others quoted in November 2026"
_GOOGLE_GPU = "Google Cloud, on demand, us-central1, a3-highgpu, list price that others quoted in September 2026"
_LAMBDA = "Lambda, on demand, instance of 8, list price that others quoted in September 2026"
_RUNPOD = "RunPod, Secure Cloud, list price that others quoted in November 2026"
_NO_TPU_WATTS = "assumed: Google publishes none; TPU v4 drew 170 W on average (Jouppi et al. 2023), host's share added"
_TPU_WATTS = "Google's page: {} W on average; host's share added"
_GOOGLE_PUE = "Google's fleet, Environmental Report 2024"
_MLPERF = "MLPerf Training v4.0 power, BERT on 8 x H100: 6.7 kW for the whole machine"
_GPU_PUE = "assumed: a new colocation site"

# Grams of CO2 equivalent per kWh: a grid's average over a year, whatever a contract says.
WORLD_GRID = 475.0
GRID_SOURCE = "world average, as CodeCarbon's default; --grid gives your region's"


def gpu_power(watts: float) -> Power:
    """Returns the power of a GPU from the watts of its data sheet: a fifth of them is added for the host."""
    source = f"assumed: the data sheet's {watts:.0f} W and a fifth of that for the host"
    return Power(1.2 * watts, 0.7 * watts, 1.5 * watts, source, 1.25, _GPU_PUE)


def _gpu(
    name: str,
    kinds: tuple[str, ...],
    *,
    bfloat16: float,
    float32: float,
    vector: float,
    memory: float,
    bandwidth: float,
    links: int,
    link: float,
    network: float,
    watts: float | Power,
    host: int = 8,
    prices: tuple[Price, ...] = (),
    no_bfloat16: bool = False,
) -> Chip:
    """Returns a GPU. Peaks are in TFLOP/s, memory in GiB, bandwidths in GB/s and the network in Gbit/s."""
    return Chip(
        name=name,
        kind="gpu",
        flops=bfloat16 * 1e12,
        float32_flops=float32 * 1e12,
        vector=vector * 1e12,
        hbm=GPU_POOL_FRACTION * memory * GIB,
        hbm_bandwidth=bandwidth * 1e9,
        links=links,
        link_bandwidth=link * 1e9,
        hop=3e-6,
        network=network * 1e9 / 8,
        chips_per_host=host,
        power=watts if isinstance(watts, Power) else gpu_power(watts),
        prices=prices,
        device_kinds=kinds,
        bfloat16=not no_bfloat16,
    )


_HOPPER_POWER = Power(840, 700, 1000, _MLPERF, 1.25, _GPU_PUE)
_V100 = dict(bfloat16=125, float32=15.7, vector=15.7, bandwidth=900, links=6, link=25, network=50, watts=300)
_A100 = dict(bfloat16=312, float32=156, vector=19.5, links=12, link=25, network=200, watts=400)
_HOPPER = dict(bfloat16=989.4, float32=494.7, vector=67, links=18, link=25, network=400, watts=_HOPPER_POWER)

_ALL: tuple[Chip, ...] = (
    Chip(
        name="v3",
        kind="tpu",
        # Half of a chip: a device of v3 is one of its two cores.
        flops=123e12 / 2,
        float32_flops=123e12 / 2,
        vector=1.9e12,
        hbm=15.48 * GIB,
        hbm_bandwidth=900e9 / 2,
        links=4,
        link_bandwidth=82e9 / 2,
        hop=1e-6,
        network=25e9 / 8 / 2,
        chips_per_host=4,
        power=Power(290, 160, 350, _TPU_WATTS.format(220), 1.10, _GOOGLE_PUE),
        ring=32,
        device_kinds=("TPU v3",),
        devices=2,
    ),
    Chip(
        name="v4",
        kind="tpu",
        flops=275e12,
        float32_flops=275e12,
        vector=4.3e12,
        hbm=30.75 * GIB,
        hbm_bandwidth=1200e9,
        links=6,
        link_bandwidth=50e9,
        hop=1e-6,
        network=25e9 / 8,
        chips_per_host=4,
        power=Power(230, 130, 280, _TPU_WATTS.format(170), 1.10, _GOOGLE_PUE),
        prices=(Price(3.22, "Google Cloud, on demand, us-central2, list price of 2022 that others quote", "google"),),
        ring=4,
        cubes=True,
        device_kinds=("TPU v4",),
        # Its two cores are one device, as on a TPU VM. libtpu's default is two devices.
        libtpu="megacore",
    ),
    Chip(
        name="v5e",
        kind="tpu",
        flops=197e12,
        float32_flops=197e12,
        vector=6.1e12,
        hbm=15.75 * GIB,
        hbm_bandwidth=819e9,
        links=4,
        link_bandwidth=50e9,
        hop=1e-6,
        network=25e9 / 8,
        chips_per_host=4,
        large_host=8,  # 2x4 is one host in the tables of docs.cloud.google.com/tpu/docs/v5e and v6e.
        power=Power(250, 170, 350, _NO_TPU_WATTS, 1.10, _GOOGLE_PUE),
        prices=(Price(1.20, _GOOGLE, "google"),),
        ring=16,
        device_kinds=("TPU v5 lite", "TPU v5e"),
    ),
    Chip(
        name="v5p",
        kind="tpu",
        flops=459e12,
        float32_flops=459e12,
        vector=14e12,
        hbm=95.7 * GIB,
        hbm_bandwidth=2765e9,
        links=6,
        link_bandwidth=100e9,
        hop=1e-6,
        network=50e9 / 8,
        chips_per_host=4,
        power=Power(500, 350, 700, _NO_TPU_WATTS, 1.10, _GOOGLE_PUE),
        prices=(Price(4.20, _GOOGLE, "google"),),
        ring=4,
        cubes=True,
        most_chips=18_432,  # One program over several slices: docs.cloud.google.com/tpu/docs/v5p, multislice.
        device_kinds=("TPU v5", "TPU v5p"),
    ),
    Chip(
        name="v6e",
        kind="tpu",
        flops=918e12,
        float32_flops=918e12,
        vector=7.2e12,
        hbm=31.25 * GIB,
        hbm_bandwidth=1638e9,
        links=4,
        link_bandwidth=100e9,
        hop=1e-6,
        network=100e9 / 8,
        chips_per_host=4,
        large_host=8,
        power=Power(350, 250, 500, _NO_TPU_WATTS, 1.10, _GOOGLE_PUE),
        prices=(Price(2.70, _GOOGLE, "google"),),
        ring=16,
        device_kinds=("TPU v6 lite", "TPU v6e"),
    ),
    Chip(
        name="tpu7x",
        kind="tpu",
        # Half of a chip: a device is one of its two chiplets, which have a half of the memory each.
        flops=2307e12 / 2,
        float32_flops=2307e12 / 2,
        vector=9e12,
        hbm=94.75 * GIB,
        hbm_bandwidth=7380e9 / 2,
        links=6,
        link_bandwidth=100e9 / 2,
        hop=1e-6,
        network=100e9 / 8 / 2,
        chips_per_host=4,
        power=Power(900, 500, 1300, _NO_TPU_WATTS, 1.10, _GOOGLE_PUE),
        ring=4,
        cubes=True,
        device_kinds=("TPU7x",),
        devices=2,
    ),
    _gpu("v100-16gb", ("V100 16GB",), memory=15.77, no_bfloat16=True, **_V100),  # type: ignore[arg-type]
    _gpu("v100-32gb", ("V100 32GB",), memory=31.73, no_bfloat16=True, **_V100),  # type: ignore[arg-type]
    _gpu(
        "a100-40gb",
        ("A100 40GB",),
        memory=39.39,
        bandwidth=1555,
        prices=(
            Price(2.74, _AWS, "aws"),
            Price(3.40, _AZURE, "azure"),
            Price(1.99, _LAMBDA, "lambda"),
        ),
        **_A100,  # type: ignore[arg-type]
    ),
    _gpu(
        "a100-80gb",
        ("A100 80GB",),
        memory=79.15,
        bandwidth=2039,
        prices=(
            Price(3.43, _AWS, "aws"),
            Price(2.79, _LAMBDA, "lambda"),
            Price(1.79, _RUNPOD, "runpod"),
        ),
        **_A100,  # type: ignore[arg-type]
    ),
    # PCIe 4.0 x16: 32 GB/s each way.
    _gpu(
        "l4",
        ("L4",),
        bfloat16=121,
        float32=60,
        vector=30.3,
        memory=22.03,
        bandwidth=300,
        links=1,
        link=32,
        network=25,
        watts=72,
    ),
    _gpu(
        "l40s",
        ("L40S",),
        bfloat16=362,
        float32=183,
        vector=91.6,
        memory=44.34,
        bandwidth=864,
        links=1,
        link=32,
        network=25,
        watts=350,
    ),
    # Its driver lets cards talk through the host's memory only, so a message crosses PCIe twice.
    _gpu(
        "rtx4090",
        ("RTX 4090",),
        bfloat16=165.2,
        float32=82.6,
        vector=82.6,
        memory=23.52,
        bandwidth=1008,
        links=1,
        link=16,
        network=10,
        watts=450,
    ),
    _gpu(
        "h100",
        ("H100",),
        memory=79.10,
        bandwidth=3350,
        prices=(
            Price(4.92, _AWS_BLOCKS, "aws", on_demand=False),
            Price(10.98, _GOOGLE_GPU, "google"),
            Price(12.29, _AZURE, "azure"),
            Price(3.99, _LAMBDA, "lambda"),
            Price(3.99, _RUNPOD, "runpod"),
        ),
        **_HOPPER,  # type: ignore[arg-type]
    ),
    # PCIe 5.0 x16: 64 GB/s each way. A bridge of NVLink joins two cards only, and is not counted.
    _gpu(
        "h100-pcie",
        ("H100 PCIe",),
        bfloat16=756,
        float32=378,
        vector=51,
        memory=79.10,
        bandwidth=2000,
        links=1,
        link=64,
        network=200,
        watts=350,
        prices=(Price(2.89, _RUNPOD, "runpod"),),
    ),
    _gpu(
        "h100-nvl",
        ("H100 NVL",),
        bfloat16=835,
        float32=417.5,
        vector=60,
        memory=93.0,
        bandwidth=3900,
        links=1,
        link=64,
        network=200,
        watts=400,
        prices=(Price(3.19, _RUNPOD, "runpod"),),
    ),
    _gpu(
        "h200",
        ("H200",),
        memory=139.72,
        bandwidth=4800,
        prices=(Price(5.41, _AWS_BLOCKS, "aws", on_demand=False),),
        **_HOPPER,  # type: ignore[arg-type]
    ),
    _gpu(
        "h200-nvl",
        ("H200 NVL",),
        bfloat16=835,
        float32=417.5,
        vector=60,
        memory=139.72,
        bandwidth=4800,
        links=18,
        link=25,
        network=200,
        watts=600,
        host=4,
    ),
    _gpu(
        "gh200",
        ("GH200",),
        bfloat16=989.4,
        float32=494.7,
        vector=67,
        memory=94.5,
        bandwidth=4000,
        links=1,
        link=50,
        network=400,
        watts=1000,
        host=1,
    ),
    _gpu(
        "b200",
        ("B200",),
        bfloat16=2250,
        float32=1125,
        vector=80,
        memory=178.35,
        bandwidth=8000,
        links=18,
        link=50,
        network=400,
        watts=1000,
        prices=(Price(6.69, _LAMBDA, "lambda"),),
    ),
    _gpu(
        "gb200",
        ("GB200",),
        bfloat16=2500,
        float32=1250,
        vector=80,
        memory=184.31,
        bandwidth=8000,
        links=18,
        link=50,
        network=400,
        watts=1200,
        host=4,
    ),
    # jax multiplies float32 matrices in float32 here. The seven links go to the seven other GPUs.
    _gpu(
        "mi300x",
        ("MI300X",),
        bfloat16=1307.4,
        float32=163.4,
        vector=163.4,
        memory=191.69,
        bandwidth=5300,
        links=7,
        link=64,
        network=400,
        watts=750,
    ),
)
CHIPS: Mapping[str, Chip] = {chip.name: chip for chip in _ALL}

_TWO_D = ("2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_TO_A_CUBE = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4")
# v4, v5p and TPU7x: all shapes of up to one cube, then common shapes of Google's pages, one for each number of chips.
SLICES: Mapping[str, tuple[str, ...]] = {
    "v3": ("2x2", "4x4", "4x8", "8x8", "8x16", "16x16", "16x32", "32x32"),
    "v4": (*_TO_A_CUBE, "4x4x8", "4x8x8", "8x8x8", "8x8x12", "8x8x16", "8x16x16"),
    "v5e": ("1x1", "2x2", *_TWO_D),
    "v6e": ("1x1", "2x2", *_TWO_D),
    "v5p": (*_TO_A_CUBE, "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16", "16x16x16", "16x16x24"),
    "tpu7x": ("1x1x1", *_TO_A_CUBE, "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16", "16x16x16", "16x16x32"),
    # GPUs that NVLink, Infinity Fabric or a mainboard joins. 72 GPUs of GB200 are one rack, with four in a machine.
    **{chip.name: ("1", "2", "4", "8") for chip in _ALL if chip.kind == "gpu" and chip.chips_per_host == 8},
    "h200-nvl": ("1", "2", "4"),
    "gh200": ("1",),
    "gb200": ("1", "2", "4", "8", "16", "32", "64", "72"),
}

# Peaks in (bfloat16, float32), FLOP/s, of devices that the table has no other figures of: kinds whose memory the name
# does not say, and those on which nobody plans a run. None: a device whose name contains the name of another one.
_ONLY_PEAKS: Mapping[str, tuple[float, float] | None] = {
    # A chip of v2 is two devices: docs.cloud.google.com/tpu/docs/v2.
    "TPU v2": (22.5e12, 22.5e12),
    "A100": (312e12, 156e12),
    "V100": (15.7e12, 15.7e12),
    "RTX 4090 D": None,
    "RTX 4090 Laptop": None,
    # A part of a GPU.
    "MIG": None,
}


def _named(device_kind: str) -> str | None:
    """Returns the entry of `device_kinds` or `_ONLY_PEAKS` with the most words that are all in `device_kind`."""
    words = set(re.findall(r"\w+", device_kind))
    known = [*_ONLY_PEAKS, *(kind for chip in CHIPS.values() for kind in chip.device_kinds)]
    fitting = [kind for kind in known if words.issuperset(kind.split())]
    return "MIG" if "MIG" in fitting else max(fitting, key=lambda kind: len(kind.split()), default=None)


def chip_of(device_kind: str) -> Chip | None:
    """Returns the chip of a device by `jax.Device.device_kind`; None if the table does not have it."""
    kind = _named(device_kind)
    return next((chip for chip in CHIPS.values() if kind in chip.device_kinds), None)


def peak_flops(device_kind: str, dtype: str) -> float | None:
    """Returns the published peak FLOP/s of one device of this kind; None if the table has no figure.

    Args:
      device_kind: `jax.Device.device_kind`, for example "TPU v5 lite" or "NVIDIA H100 80GB HBM3".
      dtype: dtype of the matrix products: "bfloat16" or "float32".
    """
    chip = chip_of(device_kind)
    if chip is not None:
        return chip.flops if dtype == "bfloat16" and chip.bfloat16 else chip.float32_flops
    peaks = _ONLY_PEAKS.get(_named(device_kind) or "")
    return None if peaks is None else peaks[0 if dtype == "bfloat16" else 1]
