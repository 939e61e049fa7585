"""SHELL. What a person's tool hands to the running trader, and the answer: files below `requests/` beside the store.

Readers open the store read-only (DESIGN, "Store"), so `tradingbot-trader account` writes `ID.json`; the trader takes it
by renaming it to `ID.taken.json`, acts, and writes `ID.answer.json`. A crash between acting and answering makes it take
the request again: whoever acts must know the id (`Transaction.put_adjustment` does).
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tradingbot_api.decimal import REPORTED_PATTERN, Reported
from tradingbot_trader.book.account import Adjustment
from tradingbot_trader.book.disk import save_file
from tradingbot_trader.orders.order import BookName

FOLDER_NAME = "requests"
MAX_REQUEST_BYTES = 4096
"""Ours are below 1 KiB. What is larger is not read at all."""
MAX_ANSWER_BYTES = 1024 * 1024
MAX_PENDING = 32
"""At most so many are taken at once: a folder that somebody fills must not stop the event loop."""
ANSWER_KEPT_NS = 7 * 86_400 * 1_000_000_000
"""An answer that nobody came for is removed after a week."""
POLL_SECONDS = 0.1
PROGRESS_SECONDS = 5.0
_REQUEST = re.compile(r"([0-9a-f]{32})\.json")
_TAKEN = re.compile(r"([0-9a-f]{32})\.taken\.json")
_ANSWER = re.compile(r"[0-9a-f]{32}\.answer\.json")


def _plain(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(REPORTED_PATTERN, value):
        raise ValueError(f"{value!r} is not a decimal like -100 or 12.5 (at most 30 digits on either side)")
    return value


Amount = Annotated[Reported, BeforeValidator(_plain)]
Line = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$")]


class RequestKind(StrEnum):
    ADJUST = "Adjust"
    """A person moved money in or out: record it, so that the account agrees again."""
    RECONCILE = "Reconcile"
    """Compare store and venue now, and answer with the report."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Request(_Model):
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    kind: RequestKind
    book: BookName
    who: Line
    created_ns: Annotated[int, Field(ge=0)]
    asset: Annotated[str, Field(pattern=r"^[A-Z0-9]{1,20}$")] | None = None
    amount: Amount | None = None
    reason: Line | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        about_money = (self.asset, self.amount, self.reason)
        if self.kind is RequestKind.ADJUST and None in about_money:
            raise ValueError("an adjustment needs asset, amount and reason")
        if self.kind is not RequestKind.ADJUST and any(each is not None for each in about_money):
            raise ValueError("only an adjustment has asset, amount and reason")
        if self.amount is not None and not self.amount:
            raise ValueError("an adjustment of 0 changes nothing")
        return self

    def to_adjustment(self) -> Adjustment:
        """ValueError when it asks for something else."""
        if self.asset is None or self.amount is None or self.reason is None:
            raise ValueError(f"request {self.id} is no adjustment")
        return Adjustment(self.id, self.book, self.asset, self.amount, self.reason, self.who)


class Answer(_Model):
    is_done: bool
    """False: refused, and nothing changed."""
    message: str
    """One line for the person who asked."""
    data: dict[str, Any] = {}
    """JSON; of a reconciliation its report."""


class Unanswered(Exception):  # noqa: N818  named by consequence (STYLE)
    """The deadline has passed."""

    def __init__(self, *, is_taken: bool) -> None:
        super().__init__("taken, and not answered yet" if is_taken else "nobody took it")
        self.is_taken = is_taken


def new_id() -> str:
    return secrets.token_hex(16)


# ---- The trader's side -----------------------------------------------------------------------------------------------


def pending(folder: Path) -> list[Request]:
    """Requests that are not answered yet, oldest first; each is taken: who asked cannot cancel it any more.

    `folder` is the store's. What is half written, too large, no plain file or not in our form is left alone. A request
    comes with each call until it is answered, after a crash as well: it is the same one by its id.
    """
    place = folder / FOLDER_NAME
    found: list[Request] = []
    try:
        names = sorted(entry.name for entry in os.scandir(place))
    except OSError:  # nobody has asked for anything yet, or nothing can be read: then nothing is asked
        return []
    answered = {name.removesuffix(".answer.json") for name in names if _ANSWER.fullmatch(name)}
    for name in names:
        match = _REQUEST.fullmatch(name) or _TAKEN.fullmatch(name)
        if match is None:
            continue
        path = place / name
        if match[1] in answered:
            with suppress(OSError):
                path.unlink()  # a crash between the answer and this
            continue
        request = _read_request(path, match[1])
        if request is not None and len(found) < MAX_PENDING:
            with suppress(FileNotFoundError):  # cancelled in this moment
                path.replace(place / f"{request.id}.taken.json")
                found.append(request)
    return sorted(found, key=lambda request: (request.created_ns, request.id))


def answer(folder: Path, request: Request, given: Answer) -> None:
    """Durable when this returns; after that the request is gone. OSError when it cannot be written."""
    place = folder / FOLDER_NAME
    save_file(place / f"{request.id}.answer.json", given.model_dump_json().encode())
    (place / f"{request.id}.taken.json").unlink(missing_ok=True)


def forget_old(folder: Path, now_ns: int) -> None:
    """Answers that nobody came for."""
    with suppress(OSError):
        for entry in list(os.scandir(folder / FOLDER_NAME)):
            if _ANSWER.fullmatch(entry.name) and entry.stat().st_mtime_ns < now_ns - ANSWER_KEPT_NS:
                Path(entry).unlink(missing_ok=True)


# ---- The side of who asks --------------------------------------------------------------------------------------------


def put(folder: Path, request: Request) -> None:
    """Hand it over. OSError when the folder cannot be written."""
    place = folder / FOLDER_NAME
    place.mkdir(mode=0o750, exist_ok=True)
    save_file(place / f"{request.id}.json", request.model_dump_json().encode())


def cancel(folder: Path, request: Request) -> bool:
    """Take it back. False: too late, the trader has taken it."""
    try:
        (folder / FOLDER_NAME / f"{request.id}.json").unlink()
    except FileNotFoundError:
        return False
    return True


def await_answer(
    folder: Path,
    request: Request,
    *,
    timeout_seconds: float,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
    tell: Callable[[str], None],
) -> Answer:
    """Raises Unanswered after the deadline. The answer's file is removed once it is read."""
    started = monotonic()
    told = started
    while True:
        found = _read_answer(folder, request)
        if found is not None:
            return found
        now = monotonic()
        if now - started >= timeout_seconds:
            is_waiting = (folder / FOLDER_NAME / f"{request.id}.json").exists()
            # Answered between the two looks: then the request is gone, and the answer is there.
            found = None if is_waiting else _read_answer(folder, request)
            if found is not None:
                return found
            raise Unanswered(is_taken=not is_waiting)
        if now - told >= PROGRESS_SECONDS:
            told = now
            tell(f"waiting for the trader: {now - started:.0f} s of {timeout_seconds:.0f} s")
        sleep(POLL_SECONDS)


def _read_answer(folder: Path, request: Request) -> Answer | None:
    path = folder / FOLDER_NAME / f"{request.id}.answer.json"
    content = _read_plain(path, MAX_ANSWER_BYTES)
    if content is None:
        return None
    try:
        found = Answer.model_validate_json(content)
    except ValidationError:
        return None
    with suppress(OSError):
        path.unlink(missing_ok=True)
    return found


def _read_request(path: Path, request_id: str) -> Request | None:
    content = _read_plain(path, MAX_REQUEST_BYTES)
    if content is None:
        return None
    try:
        found = Request.model_validate_json(content)
    except ValidationError:
        return None
    return found if found.id == request_id else None


def _read_plain(path: Path, max_bytes: int) -> bytes | None:
    """Of a plain file that is not too large; never through a link, never from a pipe that would block."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            content = file.read(max_bytes + 1)
    except OSError:
        return None
    return content if len(content) <= max_bytes else None
