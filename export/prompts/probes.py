"""Texts that chat templates are tried on."""

from __future__ import annotations

# What str.strip takes away, one of each kind that templates name or that texts have.
WHITE = (" ", "\n", "\t", "\r", "\x0b", "\x0c", "\x85", "\u00a0", "\u2003", "\u3000")
# Templates that call tools have some 150 texts.
MOST_LITERALS = 500

# Characters of the longest texts that are tried.
LONGEST = 50_000

PROBES = (
    "a",
    "xqMARKzq7",
    "What is 2 + 2?",
    "UPPER and lower, Mixed Case",
    "42",
    "3.14",
    "true",
    "None",
    "[1, 2]",
    '{"role": "user", "content": "text"}',
    "  two  spaces  inside  and  outside  ",
    "\n\nlines\n\nwith empty ones\n\n",
    "\tone\r\ntwo\r\n",
    " \n\t \n ",
    "\n",
    "<b>tags &amp; entities</b> < > &",
    "\"double\", 'single', `back`, \\ and \\n",
    "{{ braces }} {% tags %} {# comments #}",
    "```python\nprint('a fence')\n```",
    "# A title\n\n- an item\n- another: with a colon",
    "Gr\u00f6\u00dfe, \u00e9 and e\u0301, \u6f22\u5b57, \u0645\u0631\u062d\u0628\u0627, \U0001f642",
    "\u200bzero width\u200d and \ufeff marks",
    "a" * 3000,
    "many words " * 500,
    "line\n" * 300,
)


def around(literal: str) -> tuple[str, ...]:
    """Texts with another one in them: alone, at the front, at the end and within."""
    return literal, f"{literal} xqMARKzq7", f"xqMARKzq7 {literal}", f"xqMARKzq7{literal}xqMARKzq7"
