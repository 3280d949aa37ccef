"""What an adapter's record says of what it was learned with, compared with what it is used with: warnings that name it.

A record comes from a file, and may be another version's: what it does not say, or says in another form, is not
compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from ..bundle.manifest import TOKENIZER, WEIGHTS, Manifest
from ..bundle.prompt import Prompt
from ..errors import EdgeLorahubWarning
from ..examples.example import Example, fingerprint
from ..lora.modules import Modules

# Names in a warning, before it says how many more there are.
_MOST_NAMES = 5
# Hexadecimal digits of an example's digest: enough that no two of a million are the same by chance.
_DIGITS = 16


def bundle_record(manifest: Manifest) -> dict[str, Any]:
    """What a record says of a bundle: the digests of its files, the settings of its model, and its chat template."""
    model = asdict(manifest.model)
    del model["base_model"]  # a name, which depends on where the checkpoint lay
    return {"files": dict(manifest.sha256), "model": model, "prompt": asdict(manifest.prompt)}


def examples_record(examples: Sequence[Example]) -> dict[str, Any]:
    """What a record says of the examples: how many, the digest of all in their order, and of each."""
    return {"count": len(examples), "sha256": fingerprint(examples), "each": [_digest(e) for e in examples]}


def warn_of_other_bundle(name: str, sha256: str, record: Mapping[str, Any], manifest: Manifest) -> None:
    """Warns, once, of all that differs between the bundle that an adapter was learned with and this one.

    name and sha256 are the adapter's. One that is baked into the bundle has a warning of its own.
    """
    if any(baked.sha256 == sha256 for baked in manifest.baked):
        return
    learned = _mapping(record.get("bundle"))
    files, model = _mapping(learned.get("files")), _mapping(learned.get("model"))
    weights = _other_weights(record, manifest)
    # other weights have other graphs
    graphs = None if weights else _other_graphs(files, manifest)
    found = (
        weights,
        graphs,
        _other_tokenizer(files, manifest),
        _other_model(model, manifest),
        _other_template(learned, manifest),
    )
    if differences := [what for what in found if what]:
        warnings.warn(f"{name}: learned with {'; and with '.join(differences)}", EdgeLorahubWarning, stacklevel=3)


def warn_of_other_modules(name: str, record: Mapping[str, Any], modules: Modules) -> None:
    """Warns of modules that are others than those of the same name that an adapter was learned with."""
    rows = record.get("modules")
    learned = {
        row.get("name"): row.get("sha256")
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and isinstance(row.get("name"), str)
    }
    others = [
        f"{module.name} (sha256 {learned[module.name]!s:.12}, here {module.sha256[:12]})"
        for module in modules
        if learned.get(module.name) not in (None, module.sha256)
    ]
    if others:
        warnings.warn(
            f"{name}: learned with other modules of these names, so their weights may mean nothing here: "
            f"{_some(others)}",
            EdgeLorahubWarning,
            stacklevel=3,
        )


def warn_of_learned_examples(name: str, record: Mapping[str, Any], examples: Sequence[Example]) -> None:
    """Warns of examples to measure on that an adapter was learned from."""
    each = _mapping(record.get("examples")).get("each")
    known = {digest for digest in each if isinstance(digest, str)} if isinstance(each, list) else set()
    places = [place for place, example in enumerate(examples, 1) if _digest(example) in known] if known else []
    if places:
        front = places == list(range(1, len(places) + 1)) and len(places) < len(examples)
        advice = f"; --skip {len(places)} more leaves them out" if front else ""
        warnings.warn(
            f"{name}: learned from {len(places)} of these {len(examples)} examples, so the measure is too good: "
            f"example {_some([str(place) for place in places])}{advice}",
            EdgeLorahubWarning,
            stacklevel=3,
        )


def _other_weights(record: Mapping[str, Any], manifest: Manifest) -> str | None:
    learned, here = record.get("weights_sha256"), manifest.sha256[WEIGHTS]
    if learned in (None, here):
        return None
    precision = record.get("precision")
    if precision != manifest.precision:
        return f"weights in {precision!s:.10}, and this bundle's are in {manifest.precision}"
    if manifest.baked:
        return f"other weights; into this bundle's {', '.join(baked.name for baked in manifest.baked)} was baked"
    return f"other weights (sha256 {learned!s:.12}) than this bundle's ({here[:12]})"


def _other_graphs(learned: Mapping[str, Any], manifest: Manifest) -> str | None:
    graphs = [name for name in manifest.files if name not in (WEIGHTS, TOKENIZER)]
    others = [name for name in graphs if learned.get(name) not in (None, manifest.sha256[name])]
    if not others:
        return None
    return f"other graphs than this bundle's, as other slots or another version have: {_some(others)}"


def _other_tokenizer(learned: Mapping[str, Any], manifest: Manifest) -> str | None:
    same = learned.get(TOKENIZER) in (None, manifest.sha256[TOKENIZER])
    return None if same else f"another {TOKENIZER} than this bundle's"


def _other_template(learned: Mapping[str, Any], manifest: Manifest) -> str | None:
    with suppress(AttributeError, KeyError, TypeError, ValueError):  # of another version
        return "another chat template than this bundle's" if Prompt.of(learned["prompt"]) != manifest.prompt else None
    return None


def _other_model(learned: Mapping[str, Any], manifest: Manifest) -> str | None:
    here = bundle_record(manifest)["model"]
    others = [
        f"{key} {learned[key]!r:.40} (here {here[key]!r:.40})"
        for key in here
        if key in learned and _plain(learned[key]) != _plain(here[key])
    ]
    return f"other settings of the model: {_some(others)}" if others else None


def _plain(value: object) -> object:
    """As JSON reads it back."""
    return list(value) if isinstance(value, tuple) else value


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _digest(example: Example) -> str:
    return fingerprint([example])[:_DIGITS]


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + rest
