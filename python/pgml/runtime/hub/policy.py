"""Which repositories of the Hub may be used, and whose code may be run: what an administrator set. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from pgml.runtime.errors import INSUFFICIENT_PRIVILEGE, RuntimeFault
from pgml.runtime.hub.settings import HubSettings


def check_allowed(settings: HubSettings, *names: str) -> None:
    """Refuse a repository if any of its names is refused: the one it was called by, and the Hub's own."""
    for name in names:
        if (pattern := matching(name, settings.deny)) is not None:
            raise _refusal(name, f'It fits "{pattern}" in pgml.hub_deny.')
        if matching(name, settings.allow) is None:
            raise _refusal(name, f'It fits nothing in pgml.hub_allow, which is "{settings.allow}".')


def may_run_code(settings: HubSettings, name: str) -> bool:
    """Whether code of this repository, by the Hub's own name, may be run."""
    return matching(name, settings.trust_remote_code) is not None


def matching(name: str, patterns: str) -> str | None:
    """The first of the patterns, separated by commas, that fits.

    >>> matching("BAAI/bge-m3", "openai/*, baai/*"), matching("BAAI/bge-m3", "")
    ('baai/*', None)
    """
    each = (pattern.strip() for pattern in patterns.split(","))
    return next((pattern for pattern in each if fnmatchcase(name.lower(), pattern.lower())), None)


def _refusal(name: str, detail: str) -> RuntimeFault:
    return RuntimeFault(
        f'Hub repository "{name}" is not allowed here',
        sqlstate=INSUFFICIENT_PRIVILEGE,
        detail=detail,
        hint="Ask an administrator, who can change the setting.",
    )
