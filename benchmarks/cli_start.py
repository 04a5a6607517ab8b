"""How quick the light commands are: CPU time as a ratio to importing pydantic and yaml, which none can be without.

python benchmarks/cli_start.py

A plan of what is in AWS asks moto, which is not counted; without Pulumi's CLI it lists what its programs would make.
"""

import os
import sys
import tempfile
from pathlib import Path

from measure import in_turn, ratio

from tests.moto_parts import listening

ROOT = Path(__file__).parents[1]
AWS = "specs/aws-full.yaml"
FLOOR = "python -c 'import pydantic, yaml'"


def main() -> None:
    spec = ROOT / "specs" / "quickstart.yaml"
    llmspec = [sys.executable, "-P", "-m", "llmspec"]
    commands = {
        FLOOR: [sys.executable, "-P", "-c", "import pydantic, yaml"],
        "llmspec validate specs/quickstart.yaml": [*llmspec, "validate", str(spec)],
        "llmspec plan specs/quickstart.yaml": [*llmspec, "plan", str(spec)],
        f"llmspec plan {AWS} at prod": [*llmspec, "plan", str(ROOT / AWS), "--target", "prod"],
        "python -c 'import dagster'": [sys.executable, "-P", "-c", "import dagster"],
    }
    with tempfile.TemporaryDirectory() as folder, listening() as aws:
        hundred = [copied(spec, Path(folder), number) for number in range(100)]
        commands["llmspec plan, 100 specs"] = [*llmspec, "plan", *hundred]
        found = in_turn(commands, Path(folder), {**os.environ, **aws.env, "PYTHONPATH": str(ROOT), "PATH": os.defpath})
    for name, times in found.items():
        print(f"{times.say(name)}   {ratio(times.cpu, found[FLOOR].cpu):6.2f} × the floor's cpu")


def copied(spec: Path, folder: Path, number: int) -> str:
    text = spec.read_text(encoding="utf-8").replace("name: quickstart", f"name: q{number}")
    path = folder / f"q{number}.yaml"
    path.write_text(text.replace("data/shop_faq.jsonl", str(spec.parent / "data" / "shop_faq.jsonl")), encoding="utf-8")
    return str(path)


if __name__ == "__main__":
    main()
