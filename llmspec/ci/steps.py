"""What the jobs of the workflow do, one step each.

Nothing here needs an action of anybody's: `git`, `gh`, `curl` and Python are on GitHub's runners. What GitHub fills in
(`${{ … }}`) stands in `env:` only, so that no branch name or plan is ever read as a line of shell.
"""

from string import Template

from llmspec.ci.subject import Subject

PULUMI = "3.272.0"
"""Pulumi's CLI, in the version of the library that our programs were tested with."""


class Text(Template):
    """Text with `@name` where a value goes: `$` belongs to the shell."""

    delimiter = "@"


FETCH = """\
- name: Fetch the commit
  env: {GH_TOKEN: "${{ github.token }}"}
  run: |
    gh auth setup-git
    git init --quiet .
    git remote add origin "$GITHUB_SERVER_URL/$GITHUB_REPOSITORY"
    git fetch --quiet --depth 1 origin "$GITHUB_SHA"
    git checkout --quiet FETCH_HEAD
"""

_INSTALL = """\
- name: Install llmspec @version
  env: {PIP_EXTRA_INDEX_URL: "${{ vars.PIP_EXTRA_INDEX_URL }}"}
  run: |
@check    python3 -m venv "$RUNNER_TEMP/llmspec"
    "$RUNNER_TEMP/llmspec/bin/python" -m pip install --quiet --disable-pip-version-check '@source'
    echo "$RUNNER_TEMP/llmspec/bin" >> "$GITHUB_PATH"
    test "$("$RUNNER_TEMP/llmspec/bin/llmspec" --version)" = 'llmspec @version'
"""

_ROLE = """\
- name: Take on the role in AWS
  env:
    ROLE: "${{ vars.@variable }}"
    REGION: @region
  run: |
    if [ -z "$ROLE" ]; then
@without
    fi
    [[ "$ROLE" =~ ^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@@_/-]+$ ]]
    printf '[default]\\nregion = %s\\ncredential_process = %s -P -m llmspec.ci.github_role\\n' \\
      "$REGION" "$RUNNER_TEMP/llmspec/bin/python" > "$RUNNER_TEMP/aws.ini"
    printf '%s\\n' "AWS_CONFIG_FILE=$RUNNER_TEMP/aws.ini" "AWS_REGION=$REGION" "LLMSPEC_ROLE=$ROLE" >> "$GITHUB_ENV"
"""
_PLANS_WITHOUT = """\
      echo "::notice::@variable is not set in the environment @environment: planned without looking at the store and at AWS"
      echo "OFFLINE=1" >> "$GITHUB_ENV"
      exit 0"""
_FAILS_WITHOUT = """\
      echo "::error::@variable is not set in the environment @environment: name the role there"
      exit 1"""

_PULUMI = """\
- name: Fetch Pulumi's CLI, and check it before it is unpacked
  if: env.OFFLINE == ''
  env:
    GH_TOKEN: "${{ github.token }}"
    PULUMI: "@pulumi"
    SHA256: "@sha256"
  run: |
    file="pulumi-v$PULUMI-linux-x64.tar.gz"
    cd "$RUNNER_TEMP"
    if [ -z "$SHA256" ]; then
      SHA256=$(gh api "repos/pulumi/pulumi/releases/tags/v$PULUMI" --jq ".assets[] | select(.name == \\"$file\\") | .digest")
      SHA256=${SHA256#sha256:}
      echo "::notice::Pulumi's sum is GitHub's word; keep it: llmspec ci --pulumi-sha256 $SHA256"
    fi
    curl --fail --silent --show-error --location --proto '=https' --retry 3 --output "$file" "https://get.pulumi.com/releases/sdk/$file"
    echo "$SHA256  $file" | sha256sum --check --strict
    tar -xzf "$file"
    echo "$RUNNER_TEMP/pulumi" >> "$GITHUB_PATH"
"""

_PLAN = """\
- name: Validate and plan
  id: plan
  run: |
    report="$RUNNER_TEMP/report.md" said="$RUNNER_TEMP/said" code=0
    echo '@marker' > "$report"
    llmspec validate @specs > "$said" 2>&1 || code=$?
    cat "$said"
    if [ "$code" = 0 ]; then
      llmspec plan @specs --target @target -o markdown ${OFFLINE:+--offline} >> "$report" 2> "$said" || code=$?
    fi
    if [ "$code" != 0 ]; then
      { echo '### llmspec: there is no plan'; echo; head -c 12000 "$said" | sed 's/^/    /'; } >> "$report"
    fi
    cat "$report" >> "$GITHUB_STEP_SUMMARY"
    exit "$code"
"""

_COMMENT = """\
- name: One comment, which is updated in place
  if: ${{ !cancelled() && (steps.plan.outcome == 'success' || steps.plan.outcome == 'failure') }}
  env:
    GH_TOKEN: "${{ github.token }}"
    NUMBER: "${{ github.event.pull_request.number }}"
    MINE: '.[] | select(.user.login == "github-actions[bot]" and (.body | startswith("@marker"))) | .id'
  run: |
    found=$(gh api --paginate "repos/$GITHUB_REPOSITORY/issues/$NUMBER/comments" --jq "$MINE")
    found=${found%%$'\\n'*}
    if [ -n "$found" ]; then
      gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$found" -F "body=@@$RUNNER_TEMP/report.md"
    else
      gh api --silent --method POST "repos/$GITHUB_REPOSITORY/issues/$NUMBER/comments" -F "body=@@$RUNNER_TEMP/report.md"
    fi
"""

STRANGER = """\
- name: Say what is missing
  run: |
    echo "A fork's pull request gets no role, no secret and no comment. This plan looked at neither the store nor AWS." \\
      >> "$GITHUB_STEP_SUMMARY"
"""

_SAVE = """\
- name: Plan @spec
  id: plan@number
  run: |
    code=0
    llmspec plan @spec --target @target --exit-code --out "$RUNNER_TEMP/plan.json" -o markdown >> "$GITHUB_STEP_SUMMARY" || code=$?
    case "$code" in
      0) ;;
      3) echo "fingerprint=$(jq --raw-output .fingerprint "$RUNNER_TEMP/plan.json")" >> "$GITHUB_OUTPUT" ;;
      *) exit "$code" ;;
    esac
"""

_APPROVED = """\
- name: Refuse what nobody had to approve
  env: {GH_TOKEN: "${{ github.token }}"}
  run: |
    rules=$(gh api "repos/$GITHUB_REPOSITORY/environments/@environment" --jq '[.protection_rules[].type] | join(" ")')
    case " $rules " in
      *" required_reviewers "*) ;;
      *) echo "::error::the environment @environment asks nobody: name its reviewers in the repository's settings"; exit 1 ;;
    esac
"""

_APPLY = """\
- name: Apply @spec, if it is still what was approved
  if: env.PLAN@number != ''
@secrets  run: |
    llmspec apply @spec --target @target --plan "$PLAN@number" --yes
    llmspec status @spec --target @target | tee -a "$GITHUB_STEP_SUMMARY"
"""

_LOOK = """\
- name: Look for what differs
  run: |
    said="$RUNNER_TEMP/said" found="$RUNNER_TEMP/found.md"
    : > "$found"
    note() {  # what was asked, and what it ended with
      [ "$2" != 0 ] || return 0
      { printf '\\n`%s` ended with %s:\\n\\n' "$1" "$2"; head -c 12000 "$said" | sed 's/^/    /'; } >> "$found"
    }
@looks    cat "$found" >> "$GITHUB_STEP_SUMMARY"
"""
_LOOK_AT = """\
    code=0; llmspec plan @spec --target @target --exit-code > "$said" 2>&1 || code=$?
    note 'llmspec plan @spec' "$code"
    code=0; llmspec status @spec --target @target --drift > "$said" 2>&1 || code=$?
    note 'llmspec status @spec --drift' "$code"
"""

_TELL = """\
- name: One issue, open while something differs
  env:
    GH_TOKEN: "${{ github.token }}"
    RUN: "${{ github.server_url }}/${{ github.repository }}/actions/runs/${{ github.run_id }}"
    MINE: >-
      .[] | select(.user.login == "github-actions[bot]" and (.pull_request | not) and ((.body // "") | startswith("@marker")))
      | .number
  run: |
    report="$RUNNER_TEMP/report.md"
    printf '%s\\nWhat runs at @target is not what %s says. Seen by %s.\\n' '@marker' "$GITHUB_REF_NAME" "$RUN" > "$report"
    head -c 60000 "$RUNNER_TEMP/found.md" >> "$report"
    number=$(gh api --paginate "repos/$GITHUB_REPOSITORY/issues?state=open&per_page=100" --jq "$MINE")
    number=${number%%$'\\n'*}
    if [ -s "$RUNNER_TEMP/found.md" ]; then
      if [ -n "$number" ]; then
        gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/$number" -F "body=@@$report"
      else
        gh api --silent --method POST "repos/$GITHUB_REPOSITORY/issues" -f 'title=llmspec: @target has drifted' -F "body=@@$report"
      fi
    elif [ -n "$number" ]; then
      gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/$number" -f state=closed -f state_reason=completed
    fi
"""


def marker(what: str, target: str) -> str:
    """How a comment or an issue of ours is found again; nobody sees it."""
    return f"<!-- llmspec {what} {target} -->"


def install(about: Subject, version: str, *, works: bool = False) -> str:
    """llmspec, and what the runner itself is to do with it. A wheel is checked before pip reads it."""
    extras = "aws,local" if works and about.local else "aws"
    check = f"    echo '{about.source_sha256}  {about.source}' | sha256sum --check --strict\n" if about.source_sha256 else ""
    source = f"{about.source if about.source == '.' else './' + about.source}[{extras}]"
    return Text(_INSTALL).substitute(version=version, source=source, check=check)


def role(about: Subject, environment: str, *, may_lack: bool = False) -> str:
    without = Text(_PLANS_WITHOUT if may_lack else _FAILS_WITHOUT)
    words = {"variable": about.variable, "environment": environment}
    return Text(_ROLE).substitute(words, region=about.region, without=without.safe_substitute(words))


def pulumi(about: Subject) -> str:
    return Text(_PULUMI).substitute(pulumi=PULUMI, sha256=about.options.pulumi_sha256)


def plan(about: Subject) -> str:
    return Text(_PLAN).substitute(specs=" ".join(about.specs), target=about.target, marker=marker("plan", about.target))


def comment(about: Subject) -> str:
    return Text(_COMMENT).substitute(marker=marker("plan", about.target))


def save(about: Subject) -> list[str]:
    return [Text(_SAVE).substitute(spec=spec, number=at, target=about.target) for at, spec in enumerate(about.specs, 1)]


def approved(about: Subject) -> list[str]:
    return [Text(_APPROVED).substitute(environment=about.environment)] if about.options.approval else []


def apply(about: Subject) -> list[str]:
    lines = "".join(f'    {name}: "${{{{ secrets.{name} }}}}"\n' for name in about.secrets)
    secrets = f"  env:\n{lines}" if lines else ""
    return [
        Text(_APPLY).substitute(spec=spec, number=at, target=about.target, secrets=secrets)
        for at, spec in enumerate(about.specs, 1)
    ]


def look(about: Subject) -> str:
    return Text(_LOOK).substitute(looks="".join(Text(_LOOK_AT).substitute(spec=spec, target=about.target) for spec in about.specs))


def tell(about: Subject) -> str:
    return Text(_TELL).substitute(marker=marker("drift", about.target), target=about.target)
