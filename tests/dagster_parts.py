"""A look at what Dagster would show of a project's specs."""

import json
import subprocess
import sys
from typing import Any

from conftest import Project

LOOK = """
import json
from llmspec.definitions import defs
graph = defs.resolve_asset_graph()
print(json.dumps({
    "assets": {
        key.to_user_string(): {
            "group": node.group_name, "kinds": sorted(node.kinds), "owners": list(node.owners), "tags": dict(node.tags),
            "description": node.description, "checks": sorted(check.name for check in node.check_keys),
            "parents": sorted(parent.to_user_string() for parent in node.parent_keys), "code": node.code_version,
        } for key in graph.get_all_asset_keys() for node in [graph.get(key)]
    },
    "schedules": {schedule.name: schedule.cron_schedule for schedule in defs.schedules or []},
}))
"""


def python(project: Project, code: str) -> str:
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=project.folder, env=project.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def look(project: Project) -> dict[str, Any]:
    found = json.loads(python(project, LOOK).splitlines()[-1])
    assert isinstance(found, dict)
    return found
