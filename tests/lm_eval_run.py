"""lm-eval in a process of its own, as it takes long to load: `lm_eval_run.py TASKS` reads what to run from stdin."""

import json
import sys

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

manager = TaskManager(include_path=sys.argv[1], include_defaults=False)
found = []
for run in json.load(sys.stdin):
    made = simple_evaluate(**run, task_manager=manager, log_samples=True, bootstrap_iters=0)
    samples = {name: sorted(rows, key=lambda row: row["doc_id"]) for name, rows in made["samples"].items()}
    found.append({name: [row["filtered_resps"] for row in rows] for name, rows in samples.items()})
json.dump(found, sys.stdout)
