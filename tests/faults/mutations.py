"""Seeded damage to files: flipped bytes, cuts, insertions, swapped fields and huge values."""

from __future__ import annotations

import random
import re

#: What is put into files: bytes that are no text, values of other types, syntax of every format.
ODD = [
    b"\0", b"\xff", b"\xc3", b"\x92", b"\r", b"\n", b"\t", b"\xef\xbb\xbf", b"\xe2\x80\xa8",
    b'"', b"'", b"::", b",", b"|", b"\\", b"{", b"}", b"[", b"]", b"<", b"&", b" ", b"null",
    b"true", b"NaN", b"1e400", b"-1", b"007", b"0", b"3.5", b"1_0", b"9" * 5000, b"9" * 20,
    b"\xd9\xa3", b'"\\ud800"', b"[" * 20_000, b"a" * 140_000, b"[null]", b"{}", b'""', b'"\\u0000"',
    b"{query}", b"<|im_end|>", b"A}", b"inf", b"18446744073709551615", b"\\text{x}", b"_", b";",
]  # fmt: skip

_VALUE = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[\w.+-]+')


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to three kinds of damage to a file."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_ALL)(data, rng)
    return data


def _flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data or b"0")
    for _ in range(rng.choice((1, 1, 1, 4))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 3, 30, 300)))


def _remove(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(ODD) + data[at:]


def _replace(data: bytes, rng: random.Random) -> bytes:
    """A number, a word or a quoted text gives way to an odd value."""
    values = list(_VALUE.finditer(data))
    if not values:
        return _insert(data, rng)
    old, new = rng.choice(values).span(), rng.choice(ODD)
    return data[: old[0]] + new + data[old[1] :]


def _swap(data: bytes, rng: random.Random) -> bytes:
    """Two values change places."""
    values = list(_VALUE.finditer(data))
    if len(values) < 2:
        return _flip(data, rng)
    one, two = sorted(rng.sample(values, 2), key=lambda value: value.start())
    between = data[one.end() : two.start()]
    return data[: one.start()] + two[0] + between + one[0] + data[two.end() :]


def _shuffle_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b"\n".join(lines)


_ALL = (_flip, _flip, _cut, _remove, _repeat, _insert, _replace, _replace, _swap, _shuffle_lines)
