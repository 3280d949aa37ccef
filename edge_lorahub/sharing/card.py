"""The model card of a published module: what it is of, what it is made of, and how it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..composition.record import Record
from ..files.kinds import HUB_ID
from ..lora.base_names import public_name
from .lineage import Part

_CLASSES = {"SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM", "CAUSAL_LM": "AutoModelForCausalLM"}
_TASKS = {"SEQ_2_SEQ_LM": "text2text-generation", "CAUSAL_LM": "text-generation"}
_EQUATIONS = {"exact": "delta = Σ wᵢ BᵢAᵢ", "paper": "delta = (Σ wᵢ Bᵢ)(Σ wᵢ Aᵢ)"}
_UNKNOWN = "not known"
# Ends what is written anew when a module is published again.
_KEPT = "<!-- made by edge-lorahub hub publish; what stands below is kept -->"


@dataclass(frozen=True)
class Published:
    """What a card says. place: the folder or Hub id that it is loaded from; earlier: the card that it had before."""

    name: str
    place: str
    base_model: str
    task_type: str | None
    ranks: str
    layers: str
    sha256: str
    tags: Sequence[str]
    license: str | None
    record: Record | None
    parts: Sequence[Part]
    files: Mapping[str, str]
    earlier: str | None

    def text(self) -> str:
        return "\n".join([*self._front(), *self._body()]).rstrip() + "\n"

    def _front(self) -> Iterator[str]:
        from huggingface_hub import ModelCardData

        base = public_name(self.base_model)
        tags = ["lora", *(["lorahub", "edge-lorahub"] if self.record else []), *self.tags]
        data = ModelCardData(
            library_name="peft",
            base_model=base if HUB_ID.fullmatch(base) else None,
            license=self.license,
            pipeline_tag=_TASKS.get(self.task_type or ""),
            tags=list(dict.fromkeys(tags)),
        )
        yield from ("---", data.to_yaml().strip(), "---", "")

    def _body(self) -> Iterator[str]:
        base = code(public_name(self.base_model) or "a base model that it does not name")
        what = "adapter, composed of others by LoraHub learning," if self.record else "module"
        yield from (f"# {plain(self.name)}", "")
        yield from (f"A LoRA {what} for {base}: rank {self.ranks}, in {self.layers}.", "")
        yield from self._loading()
        if self.record is not None:
            yield from self._made_of(self.record)
        yield from ("## Digests", "")
        yield f"What it computes with, as edge-lorahub counts it: {code(self.sha256)}."
        yield from ("", "| file | sha256 |", "|---|---|")
        yield from (f"| {code(name)} | {code(digest)} |" for name, digest in sorted(self.files.items()))
        yield ""
        yield from (_KEPT, "")
        if self.earlier is not None:
            yield _own(self.earlier).strip()

    def _loading(self) -> Iterator[str]:
        kind = _CLASSES.get(self.task_type or "", "AutoModel")
        base = public_name(self.base_model) or "BASE_MODEL"
        yield from ("## Load it", "", "```python", "from peft import PeftModel", f"from transformers import {kind}", "")
        yield f"base = {kind}.from_pretrained({base!r})"
        yield f"model = PeftModel.from_pretrained(base, {self.place!r})"
        yield from ("```", "", f"With edge-lorahub on a CPU: {code(f'edge-lorahub hub add {self.place}')}.", "")

    def _made_of(self, record: Record) -> Iterator[str]:
        composition = record.settings.composition
        yield from ("## What it is made of", "")
        yield f"{composition.capitalize()} composition, {_EQUATIONS[composition]}, with these weights."
        if record.truncation is not None:
            cut = record.truncation
            yield f"Truncated to rank {cut.rank} afterwards: relative error of the change {cut.relative_error:.2%}."
        yield from _table(self.parts)
        yield from _inner(self.parts)
        count, loss = record.examples.count, record.loss
        yield from ("", "## How it was learned", "")
        examples, candidates = f"{count} example{'' if count == 1 else 's'}", len(record.trace)
        yield f"From {examples}, with {candidates} candidates of {plain(record.optimizer)}, by {plain(record.made_by)}."
        yield f"Loss {loss.before:.4f} before, {loss.after:.4f} after."
        yield ""


def _inner(parts: Sequence[Part]) -> Iterator[str]:
    """Of those that were composed themselves."""
    for part in parts:
        if part.parts:
            yield from ("", f"{code(part.name)} is composed itself:")
            yield from _table(part.parts)
            yield from _inner(part.parts)


def _table(parts: Sequence[Part]) -> Iterator[str]:
    yield from ("", "| module | weight | license | sha256 |", "|---|---:|---|---|")
    for part in parts:
        yield f"| {code(part.name)} | {part.weight:+.4f} | {part.license or _UNKNOWN} | {code(part.sha256)} |"


def common_license(parts: Sequence[Part]) -> str | None:
    """The license that all parts have; None where they differ or one of them is not known."""
    found = {part.license for part in parts}
    return found.pop() if len(found) == 1 else None


def code(text: str) -> str:
    """Somebody's text in Markdown, as it is: no mark, link or line of it is one of the card's."""
    return f"`{_line(text).replace('`', chr(39)).replace('|', '/')}`"


def plain(text: str) -> str:
    """The same within a sentence."""
    return re.sub(r"([\\`*\[\]<>|#])", r"\\\1", _line(text))


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _own(card: str) -> str:
    """What somebody wrote in a card: all but its front, or what stands below a card of ours."""
    _, ours, below = card.partition(_KEPT)
    if ours:
        return below
    if not card.startswith("---"):
        return card
    _, end, rest = card[3:].partition("\n---")
    return rest if end else card
