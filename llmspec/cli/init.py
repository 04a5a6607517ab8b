"""Write a first llm.yaml that works, with data to go with it, into a folder."""

import argparse
import re
import shutil
from importlib.resources import files
from pathlib import Path

from llmspec.errors import CallError
from llmspec.spec.spec import NAME, NAMED


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default=".", help="where to write; this folder when absent")
    parser.add_argument("--name", help="what the product is called; 'quickstart' when absent")


def run(args: argparse.Namespace) -> int:
    name = args.name or "quickstart"
    if not re.fullmatch(NAME, name):
        raise CallError(f"no product can be called '{name}'\n  {NAMED.words}")
    folder = Path(args.folder)
    spec = folder / "specs" / f"{name}.yaml"
    data = folder / "specs" / "data" / "shop_faq.jsonl"
    if taken := [str(path) for path in (spec, data) if path.exists()]:
        raise CallError(f"{' and '.join(taken)} exists already; nothing was written. Use another folder or --name")
    text = (starter() / "quickstart.yaml").read_text(encoding="utf-8").replace("name: quickstart", f"name: {name}")
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        spec.write_text(text, encoding="utf-8")
        shutil.copyfile(starter() / "data" / "shop_faq.jsonl", data)
        shutil.copyfile(starter() / "llm.schema.json", folder / "specs" / "llm.schema.json")
    except OSError as error:
        raise CallError(f"cannot write {error.filename}: {error.strerror}") from error
    print(f"Wrote {spec} and {data}.\nNext: llmspec plan {spec}, then llmspec apply {spec}")
    return 0


def starter() -> Path:
    """The starter's files: inside the wheel, or `specs/` of a checkout."""
    packed = Path(str(files("llmspec"))) / "starter"
    return packed if packed.is_dir() else packed.parents[1] / "specs"
