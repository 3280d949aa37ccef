"""What an adapter's record says of what it was learned with, compared with what it is used with: warnings that name it.

What a record does not say of a bundle's files and settings, as one of an earlier version may not, is not compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from ..bundle.manifest import TOKENIZER, WEIGHTS, Manifest
from ..errors import EdgeLorahubWarning
from ..examples.example import Example, fingerprint
from ..lora.modules import Modules
from ..messages import some_of
from .record import DIGITS, LearnedBundle, LearnedExamples, ModelSetting, Record


def learned_bundle(manifest: Manifest) -> LearnedBundle:
    """What a record says of a bundle."""
    model = dict(vars(manifest.model))
    del model["base_model"]  # a name, which depends on where the checkpoint lay
    return LearnedBundle(dict(manifest.sha256), model, manifest.prompt)


def learned_examples(examples: Sequence[Example]) -> LearnedExamples:
    """What a record says of the examples."""
    return LearnedExamples(len(examples), fingerprint(examples), tuple(digest_front(example) for example in examples))


def warn_of_other_bundle(name: str, sha256: str, record: Record, manifest: Manifest) -> None:
    """Warns, once, of all that differs between the bundle that an adapter was learned with and this one.

    name and sha256 are the adapter's. One that is baked into the bundle has a warning of its own.
    """
    if any(baked.sha256 == sha256 for baked in manifest.baked):
        return
    files = record.bundle.files
    weights = _other_weights(record, manifest)
    # other weights have other graphs
    graphs = None if weights else _other_graphs(files, manifest)
    found = (
        weights,
        graphs,
        _other_tokenizer(files, manifest),
        _other_model(record.bundle.model, manifest),
        "another chat template than this bundle's" if record.bundle.prompt not in (None, manifest.prompt) else None,
    )
    if differences := [what for what in found if what]:
        warnings.warn(f"{name}: learned with {'; and with '.join(differences)}", EdgeLorahubWarning, stacklevel=3)


def warn_of_other_modules(name: str, record: Record, modules: Modules) -> None:
    """Warns of modules that are others than those of the same name that an adapter was learned with."""
    learned = {module.name: module.sha256 for module in record.modules}
    others = [
        f"{module.name} (sha256 {learned[module.name][:12]}, here {module.sha256[:12]})"
        for module in modules
        if learned.get(module.name) not in (None, module.sha256)
    ]
    if others:
        warnings.warn(
            f"{name}: learned with other modules of these names, so their weights may mean nothing here: "
            f"{some_of(others)}",
            EdgeLorahubWarning,
            stacklevel=3,
        )


def warn_of_learned_examples(name: str, record: Record, examples: Sequence[Example]) -> None:
    """Warns of examples to measure on that an adapter was learned from."""
    known = set(record.examples.each)
    places = [place for place, example in enumerate(examples, 1) if digest_front(example) in known]
    if places:
        front = places == list(range(1, len(places) + 1)) and len(places) < len(examples)
        advice = f"; evaluate's --skip {len(places)} more leaves them out" if front else ""
        warnings.warn(
            f"{name}: learned from {len(places)} of these {len(examples)} examples, so the measure is too good: "
            f"example {some_of([str(place) for place in places])}{advice}",
            EdgeLorahubWarning,
            stacklevel=3,
        )


def _other_weights(record: Record, manifest: Manifest) -> str | None:
    learned, here = record.bundle.files.get(WEIGHTS), manifest.sha256[WEIGHTS]
    if learned in (None, here):
        return None
    if record.precision != manifest.precision:
        return f"weights in {record.precision}, and this bundle's are in {manifest.precision}"
    if manifest.baked:
        return f"other weights; into this bundle's {', '.join(baked.name for baked in manifest.baked)} was baked"
    return f"other weights (sha256 {learned:.12}) than this bundle's ({here[:12]})"


def _other_graphs(learned: Mapping[str, str], manifest: Manifest) -> str | None:
    graphs = [name for name in manifest.files if name not in (WEIGHTS, TOKENIZER)]
    others = [name for name in graphs if learned.get(name) not in (None, manifest.sha256[name])]
    if not others:
        return None
    return f"other graphs than this bundle's, as other slots or another version have: {some_of(others)}"


def _other_tokenizer(learned: Mapping[str, str], manifest: Manifest) -> str | None:
    same = learned.get(TOKENIZER) in (None, manifest.sha256[TOKENIZER])
    return None if same else f"another {TOKENIZER} than this bundle's"


def _other_model(learned: Mapping[str, ModelSetting], manifest: Manifest) -> str | None:
    here = learned_bundle(manifest).model
    others = [
        f"{key} {learned[key]!r:.40} (here {here[key]!r:.40})"
        for key in here
        if key in learned and learned[key] != here[key]
    ]
    return f"other settings of the model: {some_of(others)}" if others else None


def digest_front(example: Example) -> str:
    """What a record has of an example, in `examples.each`."""
    return fingerprint([example])[:DIGITS]
