"""Hand out the contents of files, whole or in ranges."""

from __future__ import annotations

import mimetypes
import re
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse
from tests.hub.access import check_files
from tests.hub.calls import Call
from tests.hub.refusals import Refusal, no_entry

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


async def resolve(call: Call) -> Response:
    """HEAD, GET /[datasets/]NAME/resolve/REVISION/PATH"""
    check_files(call.repository, call.token)
    commit, path = call.commit(), call.address.path
    entry = commit.files.get(path)
    if entry is None:
        raise no_entry(path, commit.oid)
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": f'"{entry.etag}"',
        "X-Repo-Commit": commit.oid,
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.rpartition('/')[2])}",
    }
    if entry.lfs:
        headers |= {"X-Linked-Etag": f'"{entry.etag}"', "X-Linked-Size": str(entry.size)}
    start, end, status = 0, entry.size, 200
    if asked := _range(call.request.headers.get("Range"), entry.size):
        start, end = asked
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{entry.size}"
    headers["Content-Length"] = str(end - start)
    kind = mimetypes.guess_type(path)[0] or ("application/octet-stream" if entry.lfs else "text/plain")
    pieces = call.store.blobs.pieces(entry.sha256, start, end - start if call.request.method == "GET" else 0)
    return StreamingResponse(pieces, status, headers, kind)


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """Where to begin and where to end; none for the whole file. Several ranges at once are answered with the whole."""
    match = RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
    else:
        start, end = max(size - int(last), 0), size
    if start >= size or start >= end:
        raise Refusal(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return start, end
