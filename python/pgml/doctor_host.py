"""What the doctor looks at on the machine it runs on, which is the server's if the connection is a local one."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from pgml.findings import OK, WARNING, Finding

OOM_DROP_IN = "/etc/systemd/system/postgresql@.service.d/pgml.conf"


def cgroup_of(process: int) -> str:
    """What the kernel says of a process's place among the services; nothing if it is not on this machine."""
    try:
        return Path(f"/proc/{process}/cgroup").read_text()
    except OSError:
        return ""


def out_of_memory(cgroup: str) -> Finding | None:
    """What systemd does with PostgreSQL when one of its processes runs out of memory; None where it does not run it."""
    services = re.findall(r"/([^/]+\.service)$", cgroup, re.MULTILINE)
    if not services:
        return None
    service = services[-1]
    try:
        command = ["systemctl", "show", "--property=OOMPolicy", "--value", service]
        policy = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    if not policy:
        return None
    if policy == "continue":
        return Finding(OK, f"out of memory: {service} goes on when one of its processes is killed (OOMPolicy)")
    mend = f"Write OOMPolicy=continue below [Service] into {OOM_DROP_IN}, then: systemctl daemon-reload"
    return Finding(WARNING, f"out of memory: a trainer that is killed takes {service} along (OOMPolicy={policy})", mend)


def installed_packages(python: str) -> dict[str, str] | None:
    """Versions of what this release's runtime needs; None unless this command runs with that interpreter's packages."""
    if Path(python).parent.parent != Path(sys.prefix):
        return None
    found = {}
    for name in runtime_pins():
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def runtime_pins() -> dict[str, str]:
    """Versions that this release's runtime is made for, by name of the package."""
    wanted = [line for line in metadata.requires("pgml") or [] if re.search(r"extra\s*==\s*.runtime.", line)]
    found = (re.match(r"([\w.-]+)==([\w.]+)", line) for line in wanted)
    return {match[1]: match[2] for match in found if match}
