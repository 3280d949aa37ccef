"""The page of an adapter that was learned here, from its record, and from answers if any were made for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from ..composition.record import Record
from ..search.settings import REFERENCE
from .adapter_charts import contribution_chart, loss_chart, weight_chart
from .before_after import Answers
from .page import ALL, Block, Facts, Page, Points, Prose, Section, Table
from .shown_text import NONE, count, interval, number, signed

# Rows of the table of candidates; a search may have a million.
_MOST_ROWS = 2_000


def adapter_page(name: str, matrices: str, record: Record, answers: Answers | None) -> Page:
    """The page of an adapter.

    name: its folder's. matrices: its own SHA-256. answers: of the plain model and of the adapter, None where none were
    made.
    """
    loss = record.loss
    lead = (
        f"Learned from {count(record.examples.count, 'example')} with {count(len(record.modules), 'LoRA module')} for "
        f"{record.base_model}. In {count(len(record.trace), 'candidate')} the loss went from {number(loss.before)} to "
        f"{number(loss.after)}."
    )
    return Page(
        f"Adapter {name}",
        lead,
        (
            Section("loss", "Loss against candidates", tuple(_loss(record))),
            Section("weights", "Weights and contributions", tuple(_weights(record))),
            Section("examples", "Examples", tuple(_examples(record))),
            Section("answers", "Answers before and after", tuple(_answers(answers))),
            Section("time", "Time", tuple(_time(record))),
            Section("settings", "Settings", tuple(_settings(record))),
            Section("origin", "What went in", tuple(_origin(matrices, record))),
        ),
    )


def _loss(record: Record) -> Iterator[Block]:
    yield Facts(
        (
            ("loss of the plain model", number(record.loss.before)),
            ("loss of the adapter", number(record.loss.after)),
            ("with regularization", number(record.loss.after_with_regularization)),
            ("search", record.optimizer),
            ("candidates", f"{len(record.trace):,} of at most {record.budget:,}"),
            ("ended", "as the search saw nothing more to gain" if record.converged else _why_ended(record)),
        )
    )  # fmt: skip
    if record.settings.optimizer == REFERENCE:
        yield Points(
            (
                "The loss is counted as the paper's released code does: mean losses of the batches' tokens, divided by "
                "the number of examples. Other searches' losses cannot be compared with it.",
            ),
            "note",
        )
    if record.truncation is not None:
        yield Points(
            (
                f"The adapter was cut down to rank {record.truncation.rank} afterwards, with a relative error of "
                f"{record.truncation.relative_error:.2%}. The losses are from before that.",
            ),
            "note",
        )
    if not record.trace:
        yield Prose("The record has no candidates.")
        return
    rows = []
    least: float | None = None
    for place, tried in enumerate(record.trace, 1):
        if tried.loss is not None and (least is None or tried.loss < least):
            least = tried.loss
        loss = "stopped early" if tried.loss is None else number(tried.loss)
        rows.append((str(place), tried.phase, loss, number(tried.predicted), number(least)))
    front = "" if len(rows) <= _MOST_ROWS else f", the first {_MOST_ROWS:,} of {len(rows):,}"
    table = Table(
        f"Every candidate{front}: its loss with regularization, what the surrogate predicted, and the least so far",
        ("candidate", "phase", "loss", "predicted", "least so far"),
        rows[:_MOST_ROWS],
    )
    yield from loss_chart(record, table)
    stopped = sum(tried.loss is None for tried in record.trace)
    if stopped:
        yield Prose(
            f"{count(stopped, 'candidate')} stopped early, because they could not matter any more: they have no loss."
        )
    if all(tried.predicted is None for tried in record.trace):
        yield Prose("No surrogate predicted losses in this search.")


def _why_ended(record: Record) -> str:
    return "with its budget" if len(record.trace) >= record.budget else "before its budget; the record does not say why"


def _weights(record: Record) -> Iterator[Block]:
    explained = {} if record.explanation is None else record.explanation.contributions
    ordered = sorted(record.weights.items(), key=lambda item: (-abs(item[1]), item[0]))
    if not ordered:
        yield Prose("The record has no modules.")
        return
    rows = []
    for name, weight in ordered:
        one = explained.get(name)
        rest = (NONE, NONE) if one is None else (signed(one.loss_without_it), interval(one.low, one.high))
        rows.append((name, signed(weight), *rest, "no" if name in record.untried else "yes"))
    table = Table(
        "All modules, by the size of their weight",
        ("module", "weight", "loss without it", "95 % interval", "tried"),
        rows,
    )
    yield from weight_chart(ordered, table)
    if explained:
        yield from contribution_chart(explained)
        yield Prose(
            "A contribution is how much the loss rises when the module is left out, in nats, as the surrogate "
            "predicts. Its interval is Student's over the examples; one that crosses zero may as well be chance."
        )
    else:
        yield Prose("What each module contributes is not known: no surrogate assisted this search.")
    zero = sum(weight == 0 for weight in record.weights.values())
    if zero:
        yield Prose(f"With weight 0, and so without any effect: {count(zero, 'module')}.")
    if record.untried:
        yield Points((f"In no candidate: {', '.join(record.untried)}. Their weight 0 says nothing of them.",), "note")


def _examples(record: Record) -> Iterator[Block]:
    explanation = record.explanation
    if explanation is None:
        yield Prose("Losses by example are not in the record: no surrogate assisted this search.")
        return
    rows, disagreeing = [], []
    for place, plain in enumerate(explanation.plain_losses):
        known = place < len(explanation.left_out_losses)
        left_out = explanation.left_out_losses[place] if known else None
        checked = explanation.checked is not None and place in explanation.checked
        how = "evaluated" if checked else "not recorded" if explanation.checked is None else "predicted"
        rows.append((f"example {place + 1}", number(plain), number(left_out), how if known else NONE))
        if checked and left_out is not None and plain is not None and left_out > plain:
            disagreeing.append(
                f"Example {place + 1} does not agree with the others: weights that suit them give it a loss of "
                f"{number(left_out)}, the plain model {number(plain)}. Check it, or give more examples."
            )
    yield Prose(
        "Each example is left out once, and the weights are those that suit the others best. Where its loss is far "
        "above its fellows', the weights may have been learned by heart."
    )
    if disagreeing:
        yield Points(disagreeing, "warning")
    yield Table(
        "Loss of each example, and of each when it is left out",
        ("example", "plain model", "left out", "how it is known"),
        rows,
    )


def _answers(answers: Answers | None) -> Iterator[Block]:
    if answers is None:
        yield Prose(
            "A record keeps no texts of examples. Written with --bundle BUNDLE --examples FILE, a report has the "
            "answers of the plain model and of the adapter."
        )
        return
    total = len(answers.rows)
    yield Prose(
        f"To the letter, the plain model is right on {answers.right(lambda row: row.plain)} of {total}, and the "
        f"adapter on {answers.right(lambda row: row.adapted)}. {_learned_from(answers)}"
    )
    yield Table(
        "Answers",
        ("example", "input", "expected", "plain model", "adapter"),
        [
            (f"{place}{' (learned from)' if row.learned else ''}", row.input, row.output, row.plain, row.adapted)
            for place, row in enumerate(answers.rows, 1)
        ],
        texts=ALL,
    )


def _learned_from(answers: Answers) -> str:
    learned = sum(row.learned for row in answers.rows)
    if not learned:
        return "The adapter was learned from none of these."
    return f"The adapter was learned from {learned} of these, which say little of what is new."


def _time(record: Record) -> Iterator[Block]:
    tried = len(record.trace)
    rows = [("search", f"{record.seconds:.2f} s")]
    if tried:
        rows.append(("a candidate", f"{1000 * record.seconds / tried:.1f} ms on average"))
    rows += [
        ("threads of ONNX Runtime", str(record.threads)),
        ("work spared by racing", f"{record.spared:.0%}"),
        ("known from an earlier search", count(record.reused.evaluations, "evaluation")),
    ]
    yield Facts(rows)
    yield Prose("The record does not say which machine this was, nor how the time was divided.")


def _settings(record: Record) -> Iterator[Block]:
    settings = record.settings
    found = [(field.name.replace("_", " "), _value(getattr(settings, field.name))) for field in fields(settings)]
    graphs = "for short outputs" if record.short else "for outputs of any length"
    more = (("precision", record.precision), ("LoRA inputs", record.lora_type), ("graphs", graphs))
    yield Facts((*found, *more))


def _value(value: object) -> str:
    if value is None:
        return "auto"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _origin(matrices: str, record: Record) -> Iterator[Block]:
    reused = record.evaluations_sha256
    yield Facts(
        (
            ("written by", record.made_by),
            ("base model", record.base_model),
            ("bundle's manifest, SHA-256", record.bundle_sha256),
            ("adapter's matrices, SHA-256", matrices),
            ("examples, SHA-256", record.examples.sha256),
            *([("earlier evaluations, SHA-256", reused)] if reused else []),
        )
    )
    if (selection := record.selection) is not None:
        yield Table(
            f"{len(selection.scores)} modules were taken of {selection.considered}, by {selection.method} "
            f"(seed {selection.seed})",
            ("module", "loss alone" if selection.method == "probe" else "similarity to the examples"),
            [(name, "drawn" if score is None else f"{score:.4f}") for name, score in selection.scores.items()],
        )
    yield _digests("Modules", [(module.name, module.sha256) for module in record.modules])
    yield _digests("The bundle's files", list(record.bundle.files.items()))
    if record.start:
        yield Table(
            "Weights that the search began with",
            ("module", "weight"),
            [(name, signed(weight)) for name, weight in record.start.items()],
            folded=True,
        )
    for adapter in record.composed or ():
        yield Table(
            f"The adapter {adapter.sha256[:12]} among the modules is composed of these ({adapter.composition})",
            ("part", "weight", "SHA-256"),
            [(part.name, signed(part.weight), part.sha256) for part in adapter.parts],
            folded=True,
        )
    yield from _prompt(record)


def _digests(caption: str, rows: Sequence[tuple[str, str]]) -> Table:
    return Table(f"{caption}, by digest", ("name", "SHA-256"), rows, texts=ALL, folded=True)


def _prompt(record: Record) -> Iterator[Block]:
    if record.prompt.is_plain:
        yield Prose("Inputs stood alone: there were no texts around them.")
        return
    parts: Mapping[str, str] = {
        "before the input": record.prompt.before,
        "behind the input": record.prompt.after,
        "at the answer's front": record.prompt.lead,
        "behind the answer": record.prompt.end,
    }
    yield Table("The prompt", ("where", "text"), [(where, text) for where, text in parts.items() if text], texts=ALL)
