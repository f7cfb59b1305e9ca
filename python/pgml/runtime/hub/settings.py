"""What a request says of the Hub: where it is, who asks, what may be used and where files are kept.

Imports no library; knows nothing of errands and of what is asked.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgml.runtime.environment import QUIET
from pgml.runtime.errors import PROTOCOL_VIOLATION, RuntimeFault

COMMIT = re.compile(r"[0-9a-f]{40}")
DEFAULT_ENDPOINT = "https://huggingface.co"
TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")
CACHE_VARIABLES = "HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_ASSETS_CACHE HF_DATASETS_CACHE HF_MODULES_CACHE".split()


@dataclass(frozen=True)
class HubSettings:
    """The "hub" object of a request. The tokens never show in its representation."""

    endpoint: str
    offline: bool
    cache: Path
    role: str
    allow: str = "*"
    deny: str = ""
    trust_remote_code: str = ""
    token: str | None = field(default=None, repr=False)
    push_token: str | None = field(default=None, repr=False)

    @classmethod
    def from_request(cls, hub: Any) -> HubSettings:
        """Read and check the object; without a token, that of the environment serves: the administrator's for all."""
        if not isinstance(hub, dict) or not re.fullmatch(r"[A-Za-z0-9_-]+", str(hub.get("role", ""))):
            raise RuntimeFault('"hub" of the request is malformed', sqlstate=PROTOCOL_VIOLATION)
        environment = os.environ.get("HF_TOKEN") or None
        return cls(
            endpoint=str(hub.get("endpoint") or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/"),
            offline=bool(hub.get("offline")),
            cache=Path(hub.get("cache") or "pgml/hub").absolute(),
            role=str(hub["role"]),
            allow=str(hub.get("allow", "*")),
            deny=str(hub.get("deny") or ""),
            trust_remote_code=str(hub.get("trust_remote_code") or ""),
            token=hub.get("token") or environment,
            push_token=hub.get("push_token") or environment,
        )

    def as_request(self) -> dict[str, Any]:
        """The object again, complete, for an errand: it finds no token in its environment."""
        return {**vars(self), "cache": str(self.cache)}

    @property
    def public_cache(self) -> Path:
        """Where files of public repositories are kept, for all roles."""
        return self.cache / "public"

    @property
    def role_cache(self) -> Path:
        """Where files of private and gated repositories are kept, for one role."""
        return self.cache / "roles" / self.role

    def variables(self) -> dict[str, str]:
        """What the libraries read from the environment of an errand when they are imported."""
        offline = "1" if self.offline else "0"
        return {
            **QUIET,
            "HF_ENDPOINT": self.endpoint,
            "HF_HUB_OFFLINE": offline,
            "HF_DATASETS_OFFLINE": offline,
            "TRANSFORMERS_OFFLINE": offline,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "HF_HOME": str(self.cache / "home"),
        }

    def environment(self) -> dict[str, str]:
        """The whole environment of an errand, in which no token is."""
        inherited = {key: value for key, value in os.environ.items() if key not in (*TOKEN_VARIABLES, *CACHE_VARIABLES)}
        return inherited | self.variables()


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit id, which always names the same files."""
    return COMMIT.fullmatch(revision) is not None
