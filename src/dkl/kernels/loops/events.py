"""The scalars in the records of an event file of TensorBoard, by the bytes of its protocol buffers."""

from __future__ import annotations

import numpy as np

from dkl.kernels.loops.decorators import entry, kernel

#: Why a scan stopped: at the end, for want of room, in a record cut short, or at a length that is none.
DONE, FULL, CUT, BROKEN = 0, 1, 2, 3


@kernel
def little_endian(data, at, count):
    """An unsigned number of so many bytes."""
    number = np.uint64(0)
    for k in range(count):
        number |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return number


@kernel
def varint(data, at, end):
    """A number of seven bits a byte, and where it ends; beyond the end if it is cut short."""
    number, shift = np.uint64(0), np.uint64(0)
    while at < end:
        byte = np.uint64(data[at])
        at += 1
        if shift < 64:
            number |= (byte & np.uint64(0x7F)) << shift
        shift += np.uint64(7)
        if byte < 0x80:
            return number, at
    return number, end + 1


@kernel
def body(data, at, end, wire):
    """Where the value of a field begins and ends; beyond the end if there is no such field."""
    if wire == 2:
        length, start = varint(data, at, end)
        if start > end or length > np.uint64(end - start):
            return start, end + 1
        return start, start + np.int64(length)
    if wire == 0:
        _, after = varint(data, at, end)
        return at, after
    return at, at + (8 if wire == 1 else 4 if wire == 5 else end - at + 1)


@kernel
def checksum(data, start, stop, table):
    """CRC-32C, as records mask it."""
    crc = np.uint32(0xFFFFFFFF)
    for k in range(start, stop):
        crc = table[(crc ^ np.uint32(data[k])) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    crc = crc ^ np.uint32(0xFFFFFFFF)
    return np.uint32(((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8))


@kernel
def number_of(data, at, count, floats, doubles, kind):
    """A number of 4 or 8 bytes: a float, or a whole number of the tensor's kind."""
    bits = little_endian(data, at, count)
    if kind == 3 or kind == 9:
        return np.float64(np.int64(bits)) if count == 8 else np.float64(np.int32(np.uint32(bits)))
    if count == 8:
        doubles.view(np.uint64)[0] = bits
        return doubles[0]
    floats.view(np.uint32)[0] = np.uint32(bits)
    return np.float64(floats[0])


@kernel
def scalar_of_tensor(data, at, end, floats, doubles):
    """Whether a tensor is one number, and which."""
    kind, found, value = np.uint64(1), 0, 0.0
    content, content_end = 0, 0
    while at < end:
        key, at = varint(data, at, end)
        start, stop = body(data, at, end, key & np.uint64(7))
        if stop > end:
            return False, 0.0
        field = key >> np.uint64(3)
        if field == 1:
            kind, _ = varint(data, start, end)
        elif field == 4:
            content, content_end = start, stop
        elif field == 5 and stop - start >= 4:
            found += (stop - start) // 4
            value = number_of(data, start, 4, floats, doubles, 1)
        elif field == 6 and stop - start >= 8:
            found += (stop - start) // 8
            value = number_of(data, start, 8, floats, doubles, 1)
        at = stop
    size = 8 if kind == 2 or kind == 9 else 4
    if content_end > content:
        # More bytes than one number's are several, and fewer are of another kind.
        if content_end - content != size or not (kind == 1 or kind == 2 or kind == 3 or kind == 9):
            return False, 0.0
        found += 1
        value = number_of(data, content, size, floats, doubles, kind)
    return found == 1, value


@entry
def scan(data, at, table, slots, hashes, tags, known, steps, values, which):
    """Walk over whole records from a place on; ``tags`` are filled with the places of new names.

    Returns where it stands, how many scalars and how many names there are, why it stopped, and how many records had a
    wrong checksum and were left out.
    """
    floats, doubles = np.empty(1, np.float32), np.empty(1, np.float64)
    total, count, damaged = len(data), 0, 0
    room = len(values)
    while at < total:
        if at + 12 > total:
            return at, count, known, CUT, damaged
        if checksum(data, at, at + 8, table) != np.uint32(little_endian(data, at + 8, 4)):
            return at, count, known, BROKEN, damaged
        length = little_endian(data, at, 8)
        if length > np.uint64(total) or at + 16 + np.int64(length) > total:
            return at, count, known, CUT, damaged
        start = at + 12
        end = start + np.int64(length)
        if checksum(data, start, end, table) != np.uint32(little_endian(data, end, 4)):
            damaged += 1
            at = end + 4
            continue
        first = count
        step = np.int64(0)
        place = start
        while place < end:
            key, place = varint(data, place, end)
            begin, stop = body(data, place, end, key & np.uint64(7))
            if stop > end:
                break
            field = key >> np.uint64(3)
            if field == 2:
                number, _ = varint(data, begin, end)
                step = np.int64(number)
            elif field == 5:
                inner = begin
                while inner < stop:
                    key, inner = varint(data, inner, stop)
                    low, high = body(data, inner, stop, key & np.uint64(7))
                    if high > stop:
                        break
                    if key >> np.uint64(3) == 1:
                        # One value of the summary: its name, and a number in one of two forms.
                        tag, tag_end, there, value = 0, 0, False, 0.0
                        point = low
                        while point < high:
                            key, point = varint(data, point, high)
                            left, right = body(data, point, high, key & np.uint64(7))
                            if right > high:
                                break
                            name = key >> np.uint64(3)
                            if name == 1:
                                tag, tag_end = left, right
                            elif name == 2 and right - left == 4:
                                there, value = True, number_of(data, left, 4, floats, doubles, 1)
                            elif name == 8:
                                there, value = scalar_of_tensor(data, left, right, floats, doubles)
                            point = right
                        if there:
                            if count == room or known == len(hashes):
                                # The record is read again with more room.
                                return at, first, known, FULL, damaged
                            code = np.uint64(14695981039346656037)
                            for k in range(tag, tag_end):
                                code = (code ^ np.uint64(data[k])) * np.uint64(1099511628211)
                            slot = np.int64(code % np.uint64(len(slots)))
                            while slots[slot] >= 0 and hashes[slots[slot]] != code:
                                slot = (slot + 1) % len(slots)
                            if slots[slot] < 0:
                                slots[slot] = known
                                hashes[known] = code
                                tags[known, 0], tags[known, 1] = tag, tag_end
                                known += 1
                            which[count] = slots[slot]
                            values[count] = value
                            count += 1
                    inner = high
            place = stop
        for k in range(first, count):
            steps[k] = step
        at = end + 4
    return at, count, known, DONE, damaged
