"""The foundation that a spec asks for: `SPEC=specs/aws-full.yaml`. Kept parts go with it, so that a check leaves nothing."""

import os
from dataclasses import replace

from spec_ground import chosen

from infra_pulumi.foundation import FoundationArgs, foundation
from llmspec.infra.asked import foundation_args


def unkept(args: FoundationArgs) -> FoundationArgs:
    """An emulated bucket that outlives the check would be in the way of the next one."""
    audit = args.audit and replace(args.audit, keep=False)
    return replace(args, storage=replace(args.storage, keep=False), audit=audit)


loaded = chosen()
asked = foundation_args(loaded.spec, loaded.target)
foundation(unkept(asked) if os.environ.get("KEEP") != "yes" else asked)
