"""Training of the base: two single-threaded processes, each with half of every batch."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from edge_lorahub.tinyhub.draws import Draws

from .mixture import Mixture
from .model import new_base
from .padding import to_batch


@dataclass(frozen=True)
class BaseTraining:
    """Settings of the base's training; ``batch`` is the number of examples a process and step."""

    steps: int = 3500
    batch: int = 128
    rate: float = 2e-3
    decay_from: float = 0.45
    forms_from: float = 0.08
    silent_from: float = 0.40
    silent: float = 0.25
    seed: int = 1
    processes: int = 2


def mixture_at(settings: BaseTraining, step: int) -> Mixture:
    """The curriculum: plain answers, then every form, then parts of the instruction left out."""
    done = step / settings.steps
    return Mixture(silent=settings.silent if done >= settings.silent_from else 0.0, forms=done >= settings.forms_from)


def rate_at(done: float, decay_from: float) -> float:
    """The factor of the learning rate after the share ``done`` of the steps: a warm-up, then linear decay."""
    return min(1.0, done * 50 + 0.02, max(0.0, (1 - done) / (1 - decay_from)))


def train_base(settings: BaseTraining, path: Path) -> None:
    """Train and write the state dictionary to ``path``."""
    rendezvous = path.with_suffix(".rendezvous")
    rendezvous.unlink(missing_ok=True)
    mp.spawn(_work, (settings, path, rendezvous), nprocs=settings.processes)
    rendezvous.unlink(missing_ok=True)


def _work(rank: int, settings: BaseTraining, path: Path, rendezvous: Path) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=settings.processes)
    model = new_base(settings.seed).train()
    bias = [p for n, p in model.named_parameters() if "relative_attention_bias" in n]
    rest = [p for n, p in model.named_parameters() if "relative_attention_bias" not in n]
    optimizer = torch.optim.AdamW(
        [{"params": rest, "lr": settings.rate}, {"params": bias, "lr": 10 * settings.rate}],
        weight_decay=0.0,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_at(step / settings.steps, settings.decay_from)
    )
    draws = Draws(settings.seed * 1000 + rank)
    parameters = [*rest, *bias]
    started = time.perf_counter()
    for step in range(settings.steps):
        mixture = mixture_at(settings, step)
        batch = to_batch([mixture.draw(draws) for _ in range(settings.batch)])
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in parameters])
        dist.all_reduce(gradient)
        gradient /= settings.processes
        for p, piece in zip(parameters, gradient.split([p.numel() for p in parameters]), strict=True):
            p.grad.copy_(piece.view_as(p))
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if rank == 0 and (step % 100 == 99 or step + 1 == settings.steps):
            elapsed = time.perf_counter() - started
            print(f"base step {step + 1}/{settings.steps} loss {loss.item():.3f} {elapsed:.0f} s", flush=True)
    if rank == 0:
        torch.save(model.state_dict(), path)
    dist.destroy_process_group()
