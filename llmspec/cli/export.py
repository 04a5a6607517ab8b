"""Take the model out of the store: what is live, or the last one made when nothing is.

`--form hf` is the merged weights as transformers loads them, in the layout that Bedrock's custom model import takes;
`--form onnx` is the artifact that is served. A manifest beside the files names the SHA-256 of each.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from llmspec.cli.common import target_option
from llmspec.export import export
from llmspec.present import count, megabytes
from llmspec.shelf import shelf_at
from llmspec.stage import Product


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an llm.yaml")
    parser.add_argument("--form", choices=("hf", "onnx"), required=True, help="weights for others to load, or what is served")
    parser.add_argument("--to", metavar="FOLDER", required=True, help="a new folder, or s3://bucket/prefix")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    target_option(parser)


def run(args: argparse.Namespace) -> int:
    made = export(Product.open(args.file, args.target), args.form, shelf_at(args.to, Path.cwd()))
    if args.output == "json":
        print(json.dumps(asdict(made), indent=1))
        return 0
    of = f"release {made.release}" if made.release else "the last one made, as nothing is live"
    what = "the model" if made.form == "hf" else "the artifact"
    print(f"{made.to}: {what} of {of}, {count(len(made.files), 'file')}, {megabytes(made.bytes / 1e6)}")
    return 0
