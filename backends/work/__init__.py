"""The heavy bodies. Their one door is `python -m backends.work job.json`."""

import os

# A thread that waits for another spins by default: on cores that others use too that costs most of the time there is.
# OpenMP reads this when torch is loaded, so it is said before any work is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
