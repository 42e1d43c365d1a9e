"""`usance dead-letters`: what was accepted and could not be counted, on the command line, for all accounts.

Exit codes: 0 = all were counted, or discarded; 1 = some stay, with their reasons.
"""

import asyncio
import os
import pwd
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from meter import dead_letter as letters
from meter.error import DeadLetterStays
from runtime.settings import Settings
from store import db, dead_letter
from store.db import Connection
from store.dead_letter import DeadLetter
from store.error import NotFound
from store.page import Page

_PAGE = 100


def show(settings: Settings, *, all_: bool, console: Console) -> int:
    """List the letters that wait, or all that there ever were; the oldest first."""
    found = asyncio.run(_read(settings, is_waiting=not all_))
    if not found:
        console.print("No dead letters." if all_ else "No dead letters wait.")
        return 0
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("Letter", "Failed", "Where", "Events", "Why"):
        grid.add_column(name, overflow="fold")
    for one in found:
        grid.add_row(str(one.id), f"{one.failed_at:%Y-%m-%d %H:%M:%S}", _place(one), _events(one), escape(_why(one)))
    console.print(grid)
    return 0


def replay(settings: Settings, wanted: list[UUID], *, console: Console) -> int:
    """Replay these letters, or all that wait, in the order in which they came."""
    counted, stays = asyncio.run(_replay(settings, wanted))
    for id_, reason in stays:
        console.print(f"{id_} stays: {escape(reason)}")
    console.print(f"{counted} counted, {len(stays)} stay.")
    return 1 if stays else 0


def discard(settings: Settings, wanted: list[UUID], *, reason: str, console: Console) -> int:
    """Give these letters up, with a reason that stays in the list."""
    discarded, stays = asyncio.run(_discard(settings, wanted, reason=reason))
    for id_, why in stays:
        console.print(f"{id_} stays: {escape(why)}")
    console.print(f"{discarded} discarded, {len(stays)} stay.")
    return 1 if stays else 0


async def _read(settings: Settings, *, is_waiting: bool) -> list[DeadLetter]:
    conn = await _connected(settings)
    try:
        return await _all(conn, is_waiting=is_waiting)
    finally:
        await conn.close()


async def _replay(settings: Settings, wanted: list[UUID]) -> tuple[int, list[tuple[UUID, str]]]:
    conn = await _connected(settings)
    counted, stays = 0, []
    try:
        for id_ in wanted or [one.id for one in await _all(conn, is_waiting=True)]:
            try:
                await letters.replay(conn, None, letter=id_, now=datetime.now(UTC))
                counted += 1
            except (DeadLetterStays, NotFound) as exc:
                stays.append((id_, str(exc)))
    finally:
        await conn.close()
    return counted, stays


async def _discard(settings: Settings, wanted: list[UUID], *, reason: str) -> tuple[int, list[tuple[UUID, str]]]:
    conn = await _connected(settings)
    discarded, stays = 0, []
    try:
        for id_ in wanted:
            try:
                found = await letters.discard(
                    conn, None, letter=id_, by=f"{_user()} (command line)", reason=reason, now=datetime.now(UTC)
                )
            except NotFound as exc:
                stays.append((id_, str(exc)))
                continue
            if found.discarded_at is None:
                stays.append((id_, "It was replayed, so it is counted."))
            else:
                discarded += 1
    finally:
        await conn.close()
    return discarded, stays


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # A container's number without a name.
        return str(os.getuid())


async def _connected(settings: Settings) -> Connection:
    conn = await asyncpg.connect(str(settings.database_url), server_settings={"timezone": "UTC"})
    await db.check_schema(conn)
    return conn


async def _all(conn: Connection, *, is_waiting: bool) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    without = False if is_waiting else None
    page = Page(limit=_PAGE, is_descending=False)
    while True:
        listing = await dead_letter.listing(conn, None, is_replayed=without, is_discarded=without, page=page)
        found.extend(listing.items)
        if not listing.has_after:
            return found
        page = Page(limit=_PAGE, is_descending=False, after=found[-1].id)


def _place(one: DeadLetter) -> str:
    index = "" if one.index is None else f" [{one.index}]"
    return escape(f"{one.stream} {one.position}{index}")


def _events(one: DeadLetter) -> str:
    events = letters.opened(one.content)
    if events is None:
        return f"{len(one.content)} bytes that cannot be read"
    return escape(", ".join(f"{event['customerEventId']} ({event['eventType']})" for event in events))


def _why(one: DeadLetter) -> str:
    done = f" Replayed {one.replayed_at:%Y-%m-%d %H:%M}." if one.replayed_at else ""
    if one.discarded_at is not None:
        done = f" Discarded {one.discarded_at:%Y-%m-%d %H:%M} by {one.discarded_by}: {one.discard_reason}"
    return f"{one.code}: {one.reason}{done}"
