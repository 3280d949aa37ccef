"""LoraHub learning from Python: compose modules for a task, and use what comes out.

    python examples/adapt.py BUNDLE EXAMPLES OUT MODULE [MODULE ...]

BUNDLE comes from `edge-lorahub export`, EXAMPLES is JSONL with "input" and "output", the modules are PEFT
folders or Hub ids. The first five examples are learned from, the others are held out.
"""

import sys

import edge_lorahub as el


def main(bundle: str, examples: str, out: str, *sources: str) -> None:
    modules = el.Modules.load(sources)
    task = el.read_examples(examples)

    result = el.adapt(bundle, modules, task[:5], seed=1)
    for name, weight in sorted(result.weights.items(), key=lambda item: -abs(item[1])):
        print(f"{weight:+.2f}  {name}")
    print(f"loss {result.loss_before:.3f} before, {result.loss_after:.3f} after")

    result.adapter.save(out, force=True)  # a folder that peft.PeftModel.from_pretrained loads as well
    model = el.load(bundle)
    print(el.generate(model, [task[0].input], adapter=result.adapter)[0])
    if held_out := task[5:]:
        evaluation = el.evaluate(model, held_out, adapter=result.adapter)
        print(f"exact match on {len(held_out)} held-out examples: {evaluation.exact_match_percent:.1f} %")


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except el.EdgeLorahubError as error:
        sys.exit(f"Error: {error}")
