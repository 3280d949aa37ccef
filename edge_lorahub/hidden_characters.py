"""Characters that would hide or turn text around where it is shown: they are spelled out."""

from __future__ import annotations

import unicodedata

# Controls (Cc), marks of direction and other invisible formats (Cf), halves of characters (Cs), and what no standard
# says the look of (Co, Cn are left: fonts show a box).
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Joiners within words of Persian, Indic scripts and emoji, and a soft hyphen, change no line.
_HARMLESS = "\u200c\u200d\u00ad"


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with control characters as \x1b or \u202e; with `lines`, line breaks and tabs stay."""
    if text.isprintable():
        return text
    kept = _HARMLESS + ("\n\t" if lines else "")
    return "".join(
        c if c in kept or unicodedata.category(c) not in _HIDDEN else c.encode("unicode_escape").decode() for c in text
    )
