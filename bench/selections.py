"""How good selections of 20 modules of 200 are on the embedded hub, where few of the 200 are of any use.

python -m edge_lorahub.bench.selections BUNDLE [--kind clean|entangled] [--tasks N] [--seeds N]

The 200 are the hub's clean or entangled modules, under names that say nothing, and scrambled ones: the A's of one and
the B's of another, whose columns are in another order. Each has a card: a module of the hub its own, or none; a
scrambled one the name of a task of the LoraHub paper's modules. Development tasks; every figure is of the runtime
itself, as in `bench.quality`.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_lorahub import Example, Hub, Model, Modules, Settings, adapt, load
from edge_lorahub.hub.repositories import repositories
from edge_lorahub.learning.alone import losses_alone
from edge_lorahub.lora.pair import Lora
from edge_lorahub.lora.peft_files import write_peft
from edge_lorahub.runtime.prompt_choice import choose_prompt
from edge_lorahub.sharing.selecting import Pool, select
from edge_lorahub.tinyhub import DEV_TASKS, examples, relevant_modules
from edge_lorahub.tinyhub.hub import module_folders

from .quality import HELD_OUT, SHOTS, Trial, as_weights

TOTAL, TAKEN = 200, 20
_ALONE = "the hub's modules alone"
METHODS = ("random", "similar", "similar, without cards", "probe", _ALONE)


def make_hub(store: Path, kind: str, *, cards: bool) -> tuple[Hub, dict[str, str]]:
    """A store with the 200, and the neutral name of each of the hub's modules. cards: of these."""
    rng, order = np.random.default_rng(1), list(range(TOTAL))
    random.Random(1).shuffle(order)
    known = Modules.load(module_folders(kind))
    topics = repositories("lorahub")
    names: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as work:
        for number, place in enumerate(order):
            folder = Path(work) / f"module-{place:03}"
            folder.mkdir()
            if number < len(known):
                module = known[number]
                names[module.name], pairs = folder.name, dict(module.loras())
                card = (module.folder / "README.md").read_text(encoding="utf-8") if cards else ""
                # the title is its name, which is to say nothing
                card = card.replace(f"# {module.name}", f"# {folder.name}")
            else:
                one, other = (dict(known[int(index)].loras()) for index in rng.choice(len(known), 2, replace=False))
                pairs = {
                    layer: Lora(lora.a, other[layer].b[:, rng.permutation(lora.b.shape[1])], lora.scale)
                    for layer, lora in one.items()
                    if layer in other
                }
                card = f"# {folder.name}\n\n{topics[number % len(topics)].rpartition('-')[2].replace('_', ' ')}\n"
            write_peft(folder, known[0].base_model, pairs, known[0].task_type)
            (folder / "README.md").write_text(card, encoding="utf-8")
        hub = Hub(store)
        hub.add(sorted(Path(work).iterdir()))
    return hub, names


def selected(
    method: str, hubs: Sequence[Hub], names: dict[str, str], model: Model, shots: Sequence[Example], seed: int
) -> Modules:
    """The modules that a method takes."""
    hub = hubs[method.endswith("without cards")]
    if method == _ALONE:
        return hub.modules(names.values())
    entries = hub.list()
    pool = Pool(
        [entry.name for entry in entries],
        lambda: hub.texts(entries),
        lambda places: hub.load([entries[place] for place in places]),
    )
    prompt = choose_prompt(model.bundle)
    return select(
        pool, method.partition(",")[0], TAKEN, seed, shots,
        lambda modules: losses_alone(model, modules, shots, Settings(), prompt).tolist(),
    )[0]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kind", choices=("clean", "entangled"), default="clean")
    parser.add_argument("--tasks", type=int, default=len(DEV_TASKS))
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    model = load(options.bundle)
    with tempfile.TemporaryDirectory() as folder:
        made = [
            make_hub(Path(folder) / str(number), options.kind, cards=cards)
            for number, cards in enumerate((True, False))
        ]
        hubs, names = [hub for hub, _ in made], made[0][1]
        rows: dict[str, list[tuple[float, float, float, float]]] = {method: [] for method in METHODS}
        for task in DEV_TASKS[: options.tasks]:
            for seed in range(1, options.seeds + 1):
                pairs = [Example(*pair) for pair in examples(task.task, SHOTS + HELD_OUT, seed)]
                needed = {names[name] for name in relevant_modules(task, options.kind) if name in names}
                for method in METHODS:
                    began = time.perf_counter()
                    chosen = selected(method, hubs, names, model, pairs[:SHOTS], seed)
                    chose = time.perf_counter() - began
                    weights = as_weights(adapt(model, chosen, pairs[:SHOTS], seed=seed).weights)
                    took = time.perf_counter() - began - chose
                    right = Trial(model, chosen, pairs[SHOTS:]).accuracy(weights, "exact")
                    found = len(needed & set(chosen.names)) / len(needed)
                    rows[method].append((right, 100 * found, chose, took))
                    print(task.name, seed, method, *(f"{value:.2f}" for value in rows[method][-1]), flush=True)
    print("| selection | exact match, % | of the needed modules, % | choosing, s | learning, s |")
    print("|---|---:|---:|---:|---:|")
    for method, values in rows.items():
        right, found, chose, took = np.mean(values, axis=0)
        print(f"| {method} | {right:.1f} | {found:.0f} | {chose:.1f} | {took:.1f} |")


if __name__ == "__main__":
    main()
