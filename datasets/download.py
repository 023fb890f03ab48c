"""Downloads one file: from the first mirror that has the right bytes, resuming what is there."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from ..models.errors import InputError

ATTEMPTS = 3
TIMEOUT = 20.0  # seconds without a byte
CHUNK = 1 << 16
MAX_BYTES = 1 << 26  # twice the largest file that we know: a mirror that never ends is broken

Report = Callable[[int, int], None]  # bytes done, bytes in total (0 when not known)


def has_sha256(path: Path, sha256: str) -> bool:
    """Tell whether the file is there and has this content."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def download(target: Path, *, mirrors: Sequence[str], sha256: str, report: Report) -> None:
    """Download `<mirror><target's name>` to target, through `<target>.part`.

    A broken transfer is resumed, on the same mirror if it gave anything, else on the next one.
    Raises InputError, with what each mirror answered, when none has the file with this SHA-256.
    """
    part = target.with_name(target.name + ".part")
    failures = {}
    for mirror in mirrors:
        failure = _try_mirror(mirror + target.name, part, sha256=sha256, report=report)
        if failure is None:
            part.replace(target)
            return
        failures[mirror] = failure
    answers = ", ".join(f"{mirror} answered: {failure}" for mirror, failure in failures.items())
    raise InputError(f"{target.name} could not be downloaded ({answers})")


def _try_mirror(url: str, part: Path, *, sha256: str, report: Report) -> str | None:
    """Complete part from this address; return None, or the reason why that failed."""
    failure = ""
    for _ in range(ATTEMPTS):
        size = _size(part)
        try:
            _transfer(url, part, report)
        except (OSError, HTTPException, ValueError) as error:
            failure = " ".join(str(error).split()) or type(error).__name__
            if _size(part) == size:
                break
            continue
        if has_sha256(part, sha256):
            return None
        part.unlink()
        failure = "wrong checksum"
        if size == 0:  # otherwise the bytes from before may have been the wrong ones
            break
    return failure


def _transfer(url: str, part: Path, report: Report) -> None:
    """Append to part what it lacks; raises OSError when the connection ends too early."""
    start = _size(part)
    headers = {"User-Agent": "bakeoff"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT
        )
    except HTTPError as error:
        error.close()
        if error.code == 416:  # part is longer than the file
            part.unlink()
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as file:
        total = file.tell() + int(response.headers.get("Content-Length", 0))
        while chunk := response.read(CHUNK):
            file.write(chunk)
            report(file.tell(), total)
            if file.tell() > MAX_BYTES:
                raise OSError(f"more than {MAX_BYTES} bytes")
        if file.tell() < total:
            raise OSError(f"connection closed after {file.tell()} of {total} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
