"""Fetch one file over HTTP, so that an interrupted transfer goes on where it was."""

import errno
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from recsys_vae import __version__
from recsys_vae.errors import InputError, reason
from recsys_vae.files import write_json

LARGEST: Final = 64 * 2**30
"""No file above this many bytes is fetched, whatever the server says."""
_BLOCK: Final = 64 * 2**10
_HOPELESS: Final = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)
_PASSING: Final = {408, 425, 429, 500, 502, 503, 504}
"""Answers that another try may mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a server.

    Attributes:
        connect: seconds for a connection.
        read: seconds without a byte.
        tries: connections in all.
        pause: seconds before the second try; doubled from try to try.
    """

    connect: float = 10.0
    read: float = 60.0
    tries: int = 6
    pause: float = 1.0


@dataclass(frozen=True, slots=True)
class _State:
    """What the server said of the file when its first byte came.

    Attributes:
        url: of the file.
        validator: a strong ETag, otherwise Last-Modified; None: the file cannot be recognised.
        size: of the whole file, in bytes; None where the server did not say.
    """

    url: str
    validator: str | None
    size: int | None

    @classmethod
    def of(cls, url: str, response: requests.Response) -> Self:
        """Read an answer that begins at the first byte."""
        length = response.headers.get("Content-Length", "")
        return cls(url, _validator(response), int(length) if length.isdecimal() else None)

    @classmethod
    def read(cls, part: Path) -> Self | None:
        """Read what was kept beside a part, or None where that is nothing of use."""
        try:
            kept = cls(**json.loads(_beside(part).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        sound = isinstance(kept.validator, str) and isinstance(kept.size, int | None)
        return kept if sound else None


def _validator(response: requests.Response) -> str | None:
    tag = response.headers.get("ETag", "")
    # If-Range compares strongly: a weak tag would never match (RFC 9110, section 13.1.5).
    strong = tag if tag and not tag.startswith("W/") else None
    return strong or response.headers.get("Last-Modified")


def _beside(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def discard(part: Path) -> None:
    """Remove a part and what is known of it."""
    part.unlink(missing_ok=True)
    _beside(part).unlink(missing_ok=True)


class _CutError(Exception):
    """The transfer stopped before its end; another try may help."""


def transfer(url: str, part: Path, *, size: int | None, progress: bool, patience: Patience) -> None:
    """Fetch a file into `part`, going on with the bytes that an earlier try left there.

    Bytes are only added to those of the same file: the server is asked with If-Range, by the ETag
    or the Last-Modified that came with the first byte. A server that cannot do that, or whose
    file has changed, sends the file from the start.

    Args:
        url: http or https.
        part: file to write; stays when the transfer is cut, for the next time.
        size: in bytes, where it is known.
        progress: whether to draw a bar on a terminal.
        patience: timeouts and tries.

    Raises:
        InputError: the server cannot be reached or refuses, the file has another size, or the disk
            is full.
    """
    with _room(part), requests.Session() as session:
        # Bytes as they are stored, not as they are packed for the way.
        session.headers.update(
            {"Accept-Encoding": "identity", "User-Agent": f"recsys-vae/{__version__}"}
        )
        last: Exception = _CutError("it was not asked")
        for attempt in range(patience.tries):
            if attempt:
                pause = patience.pause * 2 ** (attempt - 1)
                if progress:
                    tqdm.write(f"{_why(last)}: trying again in {pause:g} s", file=sys.stderr)
                time.sleep(pause)
            try:
                _go_on(session, url, part, size, progress, patience)
            except _HOPELESS as error:
                raise InputError(
                    f"{url} leads nowhere ({reason(error)}): see the data set's homepage whether "
                    "it has moved"
                ) from error
            except (_CutError, HTTPError, requests.RequestException) as error:
                if isinstance(error, requests.exceptions.SSLError):
                    raise InputError(
                        f"{url}: the server's certificate is not accepted ({_why(error)}): check "
                        "the clock of this machine, or try again when the publisher has renewed it"
                    ) from error
                last = error
            else:
                return
    kept = part.stat().st_size if part.exists() else 0
    stays = f", the {kept:,} bytes so far stay in {part}" if kept else ""
    raise InputError(
        f"{url} could not be fetched in {patience.tries} tries ({_why(last)}): check the "
        f"connection and run the command again{stays}"
    ) from last


def _why(error: Exception) -> str:
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError) and "Connection refused" in str(error):
        return "connection refused"
    if isinstance(error, requests.ConnectionError) and "resolve" in str(error):
        return "the host name is not known"
    return reason(error)


@contextmanager
def _room(part: Path) -> Iterator[None]:
    """Tell of a full disk in a sentence that says what becomes of the bytes so far."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"{part} cannot be completed ({str(error.strerror).lower()}): free some space and run "
            "the command again, it goes on where it was"
        ) from error


def _go_on(
    session: requests.Session,
    url: str,
    part: Path,
    size: int | None,
    progress: bool,
    patience: Patience,
) -> None:
    """Ask once, and write what comes.

    Raises:
        _CutError: it ended too early.
        InputError: the server refuses, or the file has another size.
    """
    state = _State.read(part)
    have = part.stat().st_size if part.exists() else 0
    if state is None or state.url != url:
        state, have = None, 0
    if state is not None and have and have == state.size:
        return
    headers = {}
    if state is not None and have:
        headers = {"Range": f"bytes={have}-", "If-Range": str(state.validator)}
    timeout = (patience.connect, patience.read)
    with closing(session.get(url, headers=headers, stream=True, timeout=timeout)) as response:
        if response.status_code in _PASSING:
            raise _CutError(f"the server answered {response.status_code}")
        goes_on = state is not None and _continues(response, have, state)
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or (
            response.status_code == HTTPStatus.PARTIAL_CONTENT and not goes_on
        ):
            discard(part)
            raise _CutError("the server's file is another one than before")
        if response.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise InputError(
                f"{url} was refused ({response.status_code} {response.reason}): see the data "
                "set's homepage whether it has moved"
            )
        packed = response.headers.get("Content-Encoding", "identity")
        if packed != "identity" and not url.lower().endswith(("gz", ".zip")):
            raise InputError(
                f"{url} came packed as {packed}, though it was asked for as it is: fetch it by "
                "other means"
            )
        if not goes_on:
            have = 0
            state = _State.of(url, response)
            # In this order: bytes must never lie beside the validator of another file.
            part.open("wb").close()
            write_json(_beside(part), asdict(state))
        assert state is not None  # kept, or just made
        _check_size(url, part, state.size, size, have)
        _append(response, part, have, state.size or size, progress)


def _continues(response: requests.Response, have: int, state: _State) -> bool:
    """Say whether an answer is the rest of what is there."""
    if response.status_code != HTTPStatus.PARTIAL_CONTENT:
        return False
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    return begins and _validator(response) in (None, state.validator)


def _check_size(url: str, part: Path, told: int | None, size: int | None, have: int) -> None:
    if told is None:
        return
    if size is not None and told != size:
        discard(part)
        raise InputError(
            f"{url} has {told:,} bytes where the card says {size:,}: the publisher may have "
            "changed it, correct the card if the new file is the right one"
        )
    if told > LARGEST:
        discard(part)
        raise InputError(f"{url} has {told:,} bytes, above {LARGEST:,}: fetch it by other means")
    free = shutil.disk_usage(part.parent).free
    if told - have > free:
        raise OSError(errno.ENOSPC, f"{told - have:,} bytes are missing, {free:,} are free")


def _append(
    response: requests.Response,
    part: Path,
    have: int,
    total: int | None,
    progress: bool,
) -> None:
    bound = total or LARGEST
    # None: drawn on a terminal only.
    bar: Any = tqdm(
        total=total, initial=have, unit="B", unit_scale=True, desc=part.name.removesuffix(".part"),
        disable=None if progress else True, mininterval=0.2,
    )  # fmt: skip
    with bar, part.open("ab") as file:
        while block := response.raw.read(_BLOCK, decode_content=False):
            have += len(block)
            if have > bound:
                break
            file.write(block)
            bar.update(len(block))
    if have > bound:
        discard(part)
        raise InputError(
            f"{response.url} is longer than {bound:,} bytes: the publisher may have changed it, "
            "correct the card if the new file is the right one"
        )
    if total is not None and have < total:
        raise _CutError(f"cut after {have:,} of {total:,} bytes")
