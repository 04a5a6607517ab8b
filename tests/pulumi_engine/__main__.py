"""The door. What it opens is a module of its own, which Python keeps compiled."""

import sys

from pulumi_engine.commands import main

sys.exit(main(sys.argv[1:]))
