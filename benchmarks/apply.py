"""A product from nothing to its scores, with tools loaded ahead for the jobs that share them, and with each job loading its own.

python benchmarks/apply.py [--spec specs/quickstart.yaml] [--runs 3]

In turn, each in an empty folder; the digests of both are compared.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from measure import Times, once, ratio

ROOT = Path(__file__).parents[1]
ALONE = (
    "import sys; from backends.places import local_work; local_work.forks = lambda: False; "
    "from llmspec.__main__ import main; sys.exit(main())"
)
WAYS = {"loaded ahead": ["-m", "llmspec"], "each its own": ["-c", ALONE]}


def made(way: str, spec: Path) -> tuple[float, float, dict[str, str]]:
    """CPU and wall seconds, and each stage's digest."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(spec, folder)
        shutil.copytree(spec.parent / "data", Path(folder) / "data")
        command = [sys.executable, "-P", *WAYS[way], "apply", spec.name, "--yes", "--select", "+evaluation"]
        env = {name: value for name, value in os.environ.items() if not name.startswith("LLMSPEC")}
        cpu, wall = once(command, Path(folder), {**env, "PYTHONPATH": str(ROOT)})
        manifests = map(json.loads, (path.read_text() for path in Path(folder).glob(".llmspec/store/*/*/*/manifest.json")))
        return cpu, wall, {manifest["stage"]: manifest["digest"] for manifest in manifests}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, default=ROOT / "specs" / "quickstart.yaml")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    found = {way: Times([], []) for way in WAYS}
    digests = []
    for _ in range(args.runs):
        for way, times in found.items():
            cpu, wall, made_ = made(way, args.spec)
            times.cpu.append(cpu)
            times.wall.append(wall)
            digests.append(made_)
    assert len(digests[0]) == 5
    assert all(each == digests[0] for each in digests), "the two ways made different artifacts"
    for way, times in found.items():
        print(times.say(way))
    ahead, alone = found.values()
    print(f"loaded ahead: {ratio(ahead.cpu, alone.cpu):.2f} × the cpu, {ratio(ahead.wall, alone.wall):.2f} × the wall time")


if __name__ == "__main__":
    main()
