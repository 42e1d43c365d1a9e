"""Many good events at once, column by column: what `event.take` makes of each, at half the cost. Pure.

    block(wires, ...) -> Block     ready for the stream
                         None      one of them is bad, or of a rare form: whoever asks takes them one by one

Nothing is taken here that `event.take` would refuse, and what is made of it is the same; a test compares the two.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from msgspec.structs import astuple

from meter import entry, event, identity, properties, timestamp
from meter.entry import Block
from meter.error import EventRefused
from meter.event import NewId, Wire


def block(wires: Sequence[Wire], *, account: int, received_at: int, new_id: NewId) -> Block | None:
    """The block of decoded events, if all are good and plain."""
    sent_aliases, sent_types, sent_ids, written, flat = zip(*map(astuple, wires), strict=True)
    ids = [str(new_id()) if one is None else one for one in sent_ids]
    times = _times(written, received_at)
    lines = properties.encode_all(flat)
    if times is None or lines is None:
        return None
    texts = lines.splitlines()
    own = identity.own_keys(ids)
    aliases, types = entry.named(sent_aliases), entry.named(sent_types)
    # An id that is its own key is sound.
    if not _are_sound(aliases[0], types[0], ids[:1] if own else ids, texts):
        return None
    is_timed = written[0] is not None
    digests = identity.digests(texts, aliases=aliases, types=types, timestamps=times if is_timed else None)
    keys = [] if own else list(map(identity.key, ids))
    return Block(
        account=account,
        received_at=received_at,
        keys=own or b"".join(keys),
        packed_digests=digests.tobytes(),
        ids={place: ids[place] for place, key in enumerate(keys) if not identity.is_id(key)},
        alias_names=[*aliases[0]],
        packed_aliases=aliases[1].tobytes(),
        type_names=[*types[0]],
        packed_types=types[1].tobytes(),
        packed_timestamps=times.tobytes(),
        untimed=[] if is_timed else [*range(len(times))],
        lines=lines,
    )


def _times(written: Sequence[str | None], received_at: int) -> npt.NDArray[np.int64] | None:
    """When the events happened, if all say so or none does."""
    said = [one for one in written if one is not None]
    if not said:
        return np.full(len(written), received_at)
    return timestamp.read_all(said, received_at) if len(said) == len(written) else None


def _are_sound(aliases: Sequence[str], types: Sequence[str], ids: Sequence[str], texts: Sequence[bytes]) -> bool:
    # The longest of each, which may be of different events: then it is looked at more closely elsewhere.
    columns: tuple[Iterable[str | bytes], ...] = (aliases, types, ids, texts)
    if sum(max(map(len, column)) for column in columns) > event.EVENT_BYTES_MAX:
        return False
    try:
        event.check_names(aliases=aliases, types=types)
        event.check_ids(ids)
    except EventRefused:
        return False
    return True
