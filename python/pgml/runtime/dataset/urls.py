"""Files behind URLs: only those that an administrator allows, and only by HTTP. Knows nothing of formats."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx2

from pgml.runtime.errors import (
    CONNECTION_FAILURE,
    FEATURE_NOT_SUPPORTED,
    INSUFFICIENT_PRIVILEGE,
    UNDEFINED_FILE,
    RuntimeFault,
    last_line,
)
from pgml.runtime.hub.policy import matching

if TYPE_CHECKING:
    from pgml.runtime.hub.errand import Out

HINT = "The setting pgml.data_urls says from which addresses files may be loaded."
MOST_REDIRECTS = 10
SECONDS = 60.0


def is_url(text: str) -> bool:
    """Whether a name is an address, or a chain of them.

    >>> is_url("s3://bucket/a.csv"), is_url("zip://a.csv::b.zip"), is_url("org/name"), is_url("C:/a.csv")
    (True, True, False, False)
    """
    return "://" in text or "::" in text


class Downloads:
    """Files that are brought here for one load, as temporary files."""

    def __init__(self, patterns: str, out: Out) -> None:
        self._patterns = patterns
        self._out = out

    def check(self, url: str) -> None:
        """Refuse an address that is not allowed."""
        if ".." in urlsplit(unquote(url)).path.split("/") or matching(url, self._patterns) is None:
            raise RuntimeFault(
                f'URL "{without_secrets(url)}" is not allowed here', sqlstate=INSUFFICIENT_PRIVILEGE, hint=HINT
            )

    def fetch(self, url: str) -> str:
        """The path of a file that holds what an address gives."""
        self.check(url)
        if not re.match(r"https?://", url, re.IGNORECASE) or "::" in url:
            raise RuntimeFault(
                f'cannot load from URL "{without_secrets(url)}"',
                sqlstate=FEATURE_NOT_SUPPORTED,
                detail="Files can be loaded by HTTP and HTTPS.",
                hint="Data sets of the Hub are loaded by their names.",
            )
        name = unquote(urlsplit(url).path.rpartition("/")[2]).replace("/", "_").replace("\0", "") or "data"
        path = Path(tempfile.mkdtemp()) / name[-200:]
        try:
            self._download(url, path)
        except httpx2.HTTPError as error:
            raise RuntimeFault(
                f'could not load "{without_secrets(url)}"', sqlstate=CONNECTION_FAILURE, detail=f"{last_line(error)}."
            ) from error
        return str(path)

    def _download(self, url: str, path: Path) -> None:
        with httpx2.Client(timeout=SECONDS) as client:
            # Redirects are followed by hand: each target has to be allowed too.
            for _ in range(MOST_REDIRECTS):
                with client.stream("GET", url) as response:
                    if response.next_request is None:
                        return self._save(response, url, path)
                    url = str(response.next_request.url)
                    self.check(url)
            raise RuntimeFault(f'too many redirects from "{without_secrets(url)}"', sqlstate=CONNECTION_FAILURE)

    def _save(self, response: httpx2.Response, url: str, path: Path) -> None:
        if response.is_error:
            raise RuntimeFault(
                f'could not load "{without_secrets(url)}"',
                sqlstate=UNDEFINED_FILE if response.status_code in (404, 410) else CONNECTION_FAILURE,
                detail=f"The server answered {response.status_code} {response.reason_phrase}.",
            )
        total = response.headers.get("Content-Length")
        done = 0
        with path.open("wb") as file:
            for part in response.iter_bytes(1 << 20):
                done += file.write(part)
                self._out.progress("downloading", done, int(total) if total else None)


def without_secrets(url: str) -> str:
    """An address for a message: its user, password and query may be secrets.

    >>> without_secrets("https://user:word@host:80/a.csv?token=x")
    'https://host:80/a.csv'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
