"""The heavy bodies. Their one door is `python -m backends.work job.json`."""
