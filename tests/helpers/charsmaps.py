"""Rules of SentencePiece by which a normalizer replaces characters: a trie of four-byte units, and the replacements."""

from __future__ import annotations

import struct


def charsmap(character: str, replacements: bytes, place: int = 0) -> bytes:
    """Rules that replace one ASCII character by what stands at a place in the replacements, up to NUL.

    The trie is a double array as Yata's darts-clone writes it (https://github.com/s-yata/darts-clone): in a unit the
    low byte is its label, bit 8 says that a leaf follows, and bits from 10 on lead to the units below.
    """
    code, root, below = ord(character), 256, 1
    units = [0] * 1024
    units[0] = root << 10
    units[root ^ code] = code | 1 << 8 | below << 10
    units[root ^ code ^ below] = place | 1 << 31
    trie = struct.pack(f"<{len(units)}I", *units)
    return struct.pack("<I", len(trie)) + trie + replacements
