"""Event files of TensorBoard: records [1] of protocol buffers, of which the scalars are read and nothing else.

A record is the length of its data (8 bytes), a checksum of that, the data, and a checksum of the data. What is whole
is read; what is cut short or damaged is named.

References
----------
.. [1] TensorFlow, "TFRecord and tf.train.Example", "TFRecords format details".
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from dkl.doctor.readers.gathering import Gathering, UnreadableLogError
from dkl.doctor.series import Numbers
from dkl.kernels.build import built

_ROOM = 1 << 18
_NAMES = 1 << 16


def is_events(head: bytes) -> bool:
    """Whether a file that begins so is an event file: by the checksum of its first record's length."""
    if len(head) < 12:
        return False
    crc = 0xFFFFFFFF
    for byte in head[:8]:
        crc = int(_crc_table()[(crc ^ byte) & 0xFF]) ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return masked == int.from_bytes(head[8:12], "little")


def read_events(path: Path, into: Gathering) -> None:
    """The scalars of one event file.

    Parameters
    ----------
    path : Path
    into : Gathering

    Raises
    ------
    UnreadableLogError
        If not even the first record is whole.
    """
    scan = built(("decorators", "events"))
    data = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.empty(0, np.uint8)
    slots, hashes = np.full(4 * _NAMES, -1, np.int32), np.empty(_NAMES, np.uint64)
    tags = np.empty((_NAMES, 2), np.int64)
    at = known = damaged = 0
    while True:
        steps, values = np.empty(_ROOM, np.int64), np.empty(_ROOM, np.float64)
        which = np.empty(_ROOM, np.int32)
        before = at
        at, count, known, state, wrong = scan.scan(
            data, at, _crc_table(), slots, hashes, tags, known, steps, values, which
        )
        damaged += wrong
        into.passed(at - before)
        order = np.argsort(which[:count], kind="stable")
        ends = np.searchsorted(which[order], np.arange(known + 1))
        for k in np.flatnonzero(np.diff(ends)):
            name = bytes(data[tags[k, 0] : tags[k, 1]]).decode("utf-8", "replace")
            mine = order[ends[k] : ends[k + 1]]
            into.column(name, steps[mine], values[mine])
        if state != scan.FULL:
            break
        if at == before:
            raise UnreadableLogError(
                f"{into.source}: more than {_NAMES:,} names of scalars; this is no log of a training run"
            )
    if at == 0 and state != scan.DONE:
        raise UnreadableLogError(f"{into.source}: no record of this event file is whole; it has {len(data):,} bytes")
    if damaged:
        into.notes.append(f"{into.source}: {damaged} record{'s' * (damaged > 1)} with a wrong checksum left out")
    if state == scan.CUT:
        into.notes.append(
            f"{into.source}: the last record is cut short: {len(data) - at:,} bytes from byte {at:,} on were not read"
        )
    elif state == scan.BROKEN:
        into.notes.append(
            f"{into.source}: damaged at byte {at:,}: the {len(data) - at:,} bytes from there on were not read"
        )


@cache
def _crc_table() -> Numbers:
    """CRC-32C, one byte at a time: the polynomial 0x1EDC6F41, its bits in reverse."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    return table.astype(np.uint32)
