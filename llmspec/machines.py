"""Machines of AWS: memory and GPUs, so that a check can tell whether something fits before it is rented."""

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """What one has."""

    gpus: int
    gpu_gib: int
    """Memory of one GPU."""
    memory_gib: float
    gpu: str = ""
    """What it is called: `A10G`."""
    cpus: float = 0.0
    """vCPU: four for each `x` of its size, in all families that are known here."""

    @property
    def gpu_bytes(self) -> int:
        return self.gpu_gib * GIB

    @property
    def teraflops(self) -> int:
        """The most that one GPU can do in a second, in the precision that training chooses there."""
        return TERAFLOPS[self.gpu]


TERAFLOPS = {"T4": 8, "A10G": 70, "L4": 121, "L40S": 362, "A100": 312, "H100": 989, "H200": 989}
"""Dense products in bf16, without sparsity, by NVIDIA's data sheets as of 2026-11; a T4 has no bf16, and this is its fp32."""
_GPU = {"g4dn": ("T4", 16, 16), "g5": ("A10G", 22, 16), "g6": ("L4", 22, 16), "g6e": ("L40S", 44, 32)}
"""Its name, its GiB as a program sees it (an A10G is sold as 24 GB), and of memory for each `x` of its size: 2xlarge is two."""
_GPUS = {1: 1, 2: 1, 4: 1, 8: 1, 16: 1, 12: 4, 24: 4, 48: 8}
_LARGE = {
    "p4d.24xlarge": (40, 1152, "A100"),
    "p4de.24xlarge": (80, 1152, "A100"),
    "p5.48xlarge": (80, 2048, "H100"),
    "p5e.48xlarge": (141, 2048, "H200"),
}
"""Machines of eight GPUs."""
_PLAIN = {"m": 16.0, "r": 32.0, "c": 8.0}
"""GiB of memory of a size xlarge in the general, memory and compute families."""
_LOCAL_DISKS = {
    *("g4dn", "g5", "g6", "g6e", "gr6", "g7", "g7e"),
    *("p3dn", "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200", "p6-b300"),
    *("i3", "i3en", "i4i"),
}
"""No list of AWS's own exists; `c5d`, `m6id` and their like are known by their letter."""


def machine(instance: str) -> Machine | None:
    """`ml.g5.xlarge` and `g5.xlarge` are the same machine. None when nothing is known about it."""
    name = instance.removeprefix("ml.")
    if name in _LARGE:
        return Machine(8, *_LARGE[name], cpus=4 * _times(name.partition(".")[2]))
    family, _, size = name.partition(".")
    times = _times(size)
    if family in _GPU and times in _GPUS and not (family == "g4dn" and times > 16):
        gpu, gib, memory = _GPU[family]
        return Machine(_GPUS[int(times)], gib, memory * times, gpu, 4 * times)
    if times and family[:1] in _PLAIN and family[1:2].isdigit():
        return Machine(0, 0, _PLAIN[family[0]] * times, cpus=4 * times)
    return None


def _times(size: str) -> float:
    """How many times an xlarge it is; 0 when it is no size."""
    if size in ("medium", "large", "xlarge"):
        return {"medium": 0.25, "large": 0.5, "xlarge": 1.0}[size]
    number = size.removesuffix("xlarge")
    return float(number) if number.isdigit() and number != size else 0.0


def has_local_disk(instance: str) -> bool:
    """Types with NVMe disks of their own encrypt them in hardware, and refuse a key."""
    family = instance.split(".")[1] if instance.count(".") == 2 else ""
    return family in _LOCAL_DISKS or (family.endswith("d") and family[:1] in "cmr")
