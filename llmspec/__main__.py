"""`python -m llmspec`: the command line without the script on the PATH."""

import sys

from llmspec.cli import main

sys.exit(main())
