"""How long Dagster's code location takes to load with 1 and with 100 specs, as a ratio to importing dagster.

python benchmarks/dagster_start.py
"""

import os
import sys
import tempfile
from pathlib import Path

from cli_start import ROOT, copied
from measure import in_turn, ratio

FLOOR = "python -c 'import dagster'"
LOAD = "import llmspec.definitions as d; d.defs.resolve_asset_graph()"


def main() -> None:
    spec = ROOT / "specs" / "quickstart.yaml"
    with tempfile.TemporaryDirectory() as folder:
        hundred = [copied(spec, Path(folder), number) for number in range(100)]
        commands = {
            FLOOR: [sys.executable, "-P", "-c", "import dagster"],
            "definitions of 1 spec": ["env", f"LLMSPEC_SPECS={hundred[0]}", sys.executable, "-P", "-c", LOAD],
            "definitions of 100 specs": ["env", f"LLMSPEC_SPECS={folder}", sys.executable, "-P", "-c", LOAD],
        }
        found = in_turn(commands, Path(folder), {**os.environ, "PYTHONPATH": str(ROOT)}, runs=3)
    for name, times in found.items():
        print(f"{times.say(name)}   {ratio(times.cpu, found[FLOOR].cpu):6.2f} × the floor's cpu")


if __name__ == "__main__":
    main()
