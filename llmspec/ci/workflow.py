"""The jobs of the workflow, and what each of them may: the file `.github/workflows/llmspec.yml`."""

from collections.abc import Iterable
from textwrap import indent

from llmspec import __version__
from llmspec.ci import steps
from llmspec.ci.subject import APPLY_MINUTES, Subject

OWN = (
    "github.event_name == 'pull_request' && github.event.pull_request.head.repo.full_name == github.repository"
    " && github.actor != 'dependabot[bot]'"
)
FORK = (
    "github.event_name == 'pull_request' && (github.event.pull_request.head.repo.full_name != github.repository"
    " || github.actor == 'dependabot[bot]')"
)


def workflow(about: Subject) -> str:
    """The whole file, but for its first lines."""
    jobs = (
        [_checks(about)]
        if about.keeps_to_checks
        else [_plan(about), _stranger(about), _approve(about), _apply(about), _drift(about)]
    )
    return _head(about) + "jobs:\n" + "\n".join(indent(job, "  ") for job in jobs)


def _head(about: Subject) -> str:
    only = f"# Pull requests are checked, and nothing is applied: {about.keeps_to_checks}.\n" if about.keeps_to_checks else ""
    main = f"  push: {{branches: [{about.options.branch}]}}\n  schedule: [{{cron: '23 3 * * *'}}]\n  workflow_dispatch: {{}}\n"
    variables = "".join(f'  {name}: "${{{{ vars.{name} }}}}"\n' for name in about.env)
    return (
        f"{only}name: llmspec {about.target}\n"
        f"on:\n  pull_request: {{}}\n{'' if about.keeps_to_checks else main}"
        f"permissions: {{}}\n"
        f"defaults: {{run: {{shell: bash}}}}\n" + (f"env:\n{variables}" if variables else "")
    )


def _job(name: str, facts: Iterable[str], doing: Iterable[str], *, minutes: int) -> str:
    """A job on a machine of GitHub's, which is thrown away afterwards."""
    lines = [*facts, "runs-on: ubuntu-24.04", f"timeout-minutes: {minutes}", "steps:"]
    return f"{name}:\n" + indent("\n".join(lines) + "\n" + indent("".join(doing), "  "), "  ")


def _one_at_a_time(group: str, *, newest: bool) -> str:
    return f'concurrency: {{group: "{group}", cancel-in-progress: {str(newest).lower()}}}'


_PER_REQUEST = _one_at_a_time("llmspec-plan-${{ github.event.pull_request.number }}", newest=True)


def _plan(about: Subject) -> str:
    """A pull request of the repository's own: a role that reads, and a comment."""
    facts = [
        f"if: {OWN}",
        f"environment: {about.environment}-plan",
        "permissions: {contents: read, id-token: write, pull-requests: write}",
        _PER_REQUEST,
    ]
    role = steps.role(about, f"{about.environment}-plan", may_lack=True)
    doing = [steps.FETCH, steps.install(about, __version__), role, steps.pulumi(about), steps.plan(about), steps.comment(about)]
    return _job("plan", facts, doing, minutes=20)


def _checks(about: Subject) -> str:
    """All that can be done where a runner can apply nothing: a plan that looks at nothing, for everybody's pull request."""
    facts = [f"if: {OWN}", "permissions: {contents: read, pull-requests: write}", _PER_REQUEST, 'env: {OFFLINE: "1"}']
    doing = [steps.FETCH, steps.install(about, __version__), steps.plan(about), steps.comment(about)]
    return _job("plan", facts, doing, minutes=20) + "\n" + _stranger(about)


def _stranger(about: Subject) -> str:
    """A fork's pull request: code of anybody's, so it gets nothing that could be taken."""
    facts = [f"if: {FORK}", "permissions: {contents: read}", 'env: {OFFLINE: "1"}']
    doing = [steps.FETCH, steps.install(about, __version__), steps.STRANGER, steps.plan(about)]
    return _job("plan-of-a-fork", facts, doing, minutes=20)


def _approve(about: Subject) -> str:
    """What is to be approved: the plan of the branch, and its fingerprints."""
    numbers = range(1, len(about.specs) + 1)
    facts = [
        f"if: (github.event_name == 'push' || github.event_name == 'workflow_dispatch') && {_on_branch(about)}",
        f"environment: {about.environment}-plan",
        "permissions: {contents: read, id-token: write}",
        "outputs:",
        *(f'  plan{at}: "${{{{ steps.plan{at}.outputs.fingerprint }}}}"' for at in numbers),
    ]
    role = steps.role(about, f"{about.environment}-plan")
    doing = [steps.FETCH, steps.install(about, __version__), role, steps.pulumi(about), *steps.save(about)]
    return _job("plan-of-the-branch", facts, doing, minutes=20)


def _apply(about: Subject) -> str:
    """After approval, one at a time, only what was approved."""
    numbers = range(1, len(about.specs) + 1)
    pending = " || ".join(f"needs.plan-of-the-branch.outputs.plan{at} != ''" for at in numbers)
    facts = [
        "needs: plan-of-the-branch",
        f"if: {pending}",
        f"environment: {about.environment}",
        f"permissions: {{{'actions: read, ' if about.options.approval else ''}contents: read, id-token: write}}",
        _one_at_a_time(f"llmspec-{about.target}", newest=False),
        "env:",
        *(f'  PLAN{at}: "${{{{ needs.plan-of-the-branch.outputs.plan{at} }}}}"' for at in numbers),
    ]
    role = steps.role(about, about.environment)
    doing = [
        *steps.approved(about),
        steps.FETCH,
        steps.install(about, __version__, works=True),
        role,
        steps.pulumi(about),
        *steps.apply(about),
    ]
    return _job("apply", facts, doing, minutes=APPLY_MINUTES)


def _drift(about: Subject) -> str:
    """Every night: does what runs still agree with the branch?"""
    facts = [
        f"if: github.event_name == 'schedule' && {_on_branch(about)}",
        f"environment: {about.environment}-plan",
        "permissions: {contents: read, id-token: write, issues: write}",
    ]
    role = steps.role(about, f"{about.environment}-plan")
    doing = [steps.FETCH, steps.install(about, __version__), role, steps.pulumi(about), steps.look(about), steps.tell(about)]
    return _job("drift", facts, doing, minutes=30)


def _on_branch(about: Subject) -> str:
    return f"github.ref == 'refs/heads/{about.options.branch}'"
