"""What a workflow is about: which specs, at which target, and all that their jobs need on a runner."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmspec import __version__
from llmspec.errors import CallError
from llmspec.load import Loaded, load
from llmspec.registry import name_of
from llmspec.secrets import names_in
from llmspec.spec.governance import Deploy

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")
"""What may stand in a shell's line without a thought."""
_ENV = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")
_RUNNERS_OWN = re.compile(r"HOME|PATH|USER|LANG|TMPDIR|CI|(GITHUB|RUNNER|ACTIONS|AWS|LLMSPEC|PULUMI)_.*")
"""Variables that a runner or the workflow sets itself."""

APPLY_MINUTES = 350
"""What an apply may take: GitHub ends a job of its runners after six hours, whatever it is at."""


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    branch: str = "main"
    wheel: str | None = None
    pulumi_sha256: str = ""
    approval: bool = True


@dataclass(frozen=True)
class Subject:
    """Everything that a workflow says of its own product."""

    specs: tuple[str, ...]
    target: str
    environment: str
    """GitHub's environment that the role trusts: `governance.deploy.environment`, else the target's name."""
    region: str
    local: bool
    """Whether a stage is done on the runner itself."""
    env: tuple[str, ...]
    """Variables that the specs read: GitHub's, by the same names."""
    secrets: tuple[str, ...]
    source: str
    """What pip installs: a wheel in the repository, or the repository itself."""
    source_sha256: str
    """Of the wheel; the repository is pinned by its commit."""
    keeps_to_checks: str
    """Why a runner cannot apply it; empty when it can."""
    roleless: tuple[str, ...]
    """Specs that ask for no role for GitHub, so that the foundation makes none."""
    outlast: tuple[str, ...]
    """Jobs that may take longer than a runner lives: `shop.yaml: model, 24h`."""
    options: Options

    @property
    def variable(self) -> str:
        """The variable that names the role: `LLMSPEC_ROLE_PROD`."""
        return "LLMSPEC_ROLE_" + self.target.upper().replace("-", "_")


def subject(files: Sequence[str], target: str | None, options: Options) -> Subject:
    """Read the specs, and say what stands in the way of a workflow for them."""
    loaded = [_at(file, target) for file in files] if files else _found(target)
    targets = {each.target for each in loaded}
    if len(targets) > 1:
        raise CallError(f"one workflow is for one target, and these have {', '.join(sorted(targets))}\n  name it: --target T")
    regions = {each.spec.region for each in loaded} - {None}
    if len(regions) > 1:
        raise CallError(f"one workflow is for one region, and these are in {', '.join(sorted(str(each) for each in regions))}")
    environments = {_environment(each) for each in loaded}
    if len(environments) > 1:
        names = ", ".join(sorted(environments))
        raise CallError(f"one workflow is for one environment of GitHub, and these have {names}\n  write one `governance.deploy`")
    specs = tuple(_plain(_relative(each.path), "a spec") for each in loaded)
    source, digest = _source(options.wheel)
    return Subject(
        specs=specs,
        target=_plain(targets.pop(), "a target"),
        environment=environments.pop(),
        region=str(next(iter(regions), "")),
        local=any(
            each.spec.place(stage).cloud == "" for each in loaded for stage in ("data", "features", "model", "onnx", "evaluation")
        ),
        env=tuple(sorted({name for each in loaded for name in _variables(each)})),
        secrets=tuple(sorted({name for each in loaded for name in names_in(each.plain)})),
        source=source,
        source_sha256=digest,
        keeps_to_checks=next(filter(None, map(_obstacle, loaded)), ""),
        roleless=tuple(str(each.path) for each in loaded if each.spec.in_aws and not _deploy(each)),
        outlast=tuple(line for each in loaded for line in _outlast(each)),
        options=Options(_plain(options.branch, "a branch"), options.wheel, _digest(options.pulumi_sha256), options.approval),
    )


def _at(file: str, target: str | None) -> Loaded:
    """The spec at the target; without one, at the only target whose endpoint is in AWS, or else at its default."""
    first = load(file, target)
    if target:
        return first
    named = [each for each in (first, *first.elsewhere) if not first.targets or each.target in first.targets]
    inside = [each for each in named if each.spec.place("endpoint").cloud]
    if len(inside) > 1:
        raise CallError(
            f"{file} serves in AWS at {', '.join(each.target for each in inside)}\n  choose one: --target {inside[0].target}"
        )
    return inside[0] if inside else first


def _found(target: str | None) -> list[Loaded]:
    """Every spec of the folder that serves in AWS."""
    paths = [str(path) for path in sorted(Path("specs").glob("*.yaml"))]
    having = [path for path in paths if target is None or target in load(path).targets]
    found = [each for each in (_at(path, target) for path in having) if each.spec.place("endpoint").cloud]
    if not found:
        where = f"at {target}" if target else "at any target"
        raise CallError(f"no spec in specs/ serves in AWS {where}\n  name one: llmspec ci SPEC --target T")
    return found


def _obstacle(loaded: Loaded) -> str:
    """A runner is thrown away after each job, and with it whatever is on it."""
    where = f"{loaded.path} at {loaded.target}"
    if not loaded.spec.place("endpoint").cloud:
        return f"{where} serves on the machine that applies it, and a runner is gone after each job"
    if name_of(type(loaded.spec.place("endpoint"))) == "eks":
        return f"{where} serves at eks, whose roles reach beyond what a pipeline may make: people deploy it"
    return ""


def _deploy(loaded: Loaded) -> Deploy | None:
    return loaded.spec.governance.deploy if loaded.spec.governance else None


def _environment(loaded: Loaded) -> str:
    asked = _deploy(loaded)
    return (asked.environment if asked else None) or loaded.target


def _outlast(loaded: Loaded) -> Iterator[str]:
    for stage, place in loaded.spec.in_aws.items():
        longest: float = getattr(place, "max_runtime", 0.0)
        if stage != "endpoint" and longest > APPLY_MINUTES * 60:
            yield f"{loaded.path}: {stage}, {longest / 3600:g}h"


def _variables(loaded: Loaded) -> set[str]:
    names = {name for line in loaded.source.lines for name in _ENV.findall(line)}
    return {name for name in names if not _RUNNERS_OWN.fullmatch(name)}


def _relative(path: Path) -> str:
    """A runner works at the top of the repository."""
    top = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / ".git").exists()), Path.cwd())
    if top != Path.cwd():
        raise CallError(f"a workflow works at the top of the repository\n  run it there: cd {top}")
    try:
        return path.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        raise CallError(f"{path} is not below {Path.cwd()}, where the workflow will look for it") from None


def _plain(text: str, what: str) -> str:
    if not _PLAIN.fullmatch(text):
        raise CallError(f"{what} named {text!r} cannot stand in a workflow\n  keep to letters, digits, '.', '_', '-' and '/'")
    return text


def _digest(text: str) -> str:
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise CallError(f"--pulumi-sha256 {text!r}: a sha256 is 64 digits of 0-9 and a-f")
    return text


def _source(wheel: str | None) -> tuple[str, str]:
    """Never an index: there the name `llmspec` is somebody else's, and a job that deploys would run their code."""
    pyproject = Path("pyproject.toml")
    if (
        wheel is None
        and pyproject.is_file()
        and re.search(r'^name = "llmspec"$', pyproject.read_text(encoding="utf-8"), re.MULTILINE)
    ):
        return ".", ""
    path = Path(wheel or f"wheels/llmspec-{__version__}-py3-none-any.whl")
    if not path.is_file() or not path.name.startswith(f"llmspec-{__version__}-"):
        raise CallError(
            f"{path} is no wheel of llmspec {__version__}: a runner installs llmspec from the repository\n"
            f"  put the wheel there and commit it, or say where it is: --wheel PATH"
        )
    return _plain(_relative(path), "a wheel"), hashlib.sha256(path.read_bytes()).hexdigest()
