"""How far guided samples are from the tilted law they stand for, as Markdown.

    python docs/studies/sampler_accuracy.py finetune/digits finetune/mnist

The truth is a large pool of the pre-trained model, each class reweighted by exp(r2 / lambda):
unbiased in the limit, and trustworthy while the poorest class has a large effective sample size.
"""

import sys
from statistics import fmean

import torch

from benchmark import registry
from tasks.finetune.images import ImageTask
from tasks.finetune.importance import effective_sample_size, log_weights
from tasks.finetune.particles import ParticleSampler
from tasks.finetune.rewards import Rewards

STRENGTHS = (0.5, 1.0, 2.0, 5.0)
POOL = 50_000
SAMPLES = 4000
PARTICLES = (4, 16, 64)
SEED = 0


def with_particles(task: ImageTask, strength: float, particles: int) -> Rewards:
    """Rewards of about `SAMPLES` rows, each class of a batch standing for so many particles."""
    generator = task.generator(SEED)
    sampler = ParticleSampler(clip=task.sampler.clip, groups=task.groups)
    labels = torch.arange(particles * task.groups) % task.groups
    parts = []
    for _ in range(max(SAMPLES // len(labels), 1)):
        images = task.generate(
            labels, sampler, generator, lambda images: task.lower(images, labels) / strength
        ).clean
        parts.append(task.rate(images, labels))
    return Rewards.concatenate(parts)


def reweighted(pool: Rewards, strength: float) -> tuple[float, float, float]:
    """E[r1], E[r2], and the effective size of the poorest class."""
    first, second, sizes = [], [], []
    for member in pool.members():
        tilted = log_weights(pool.lower[member] / strength)
        weights = tilted.exp()
        first.append(float(weights @ pool.upper[member]))
        second.append(float(weights @ pool.lower[member]))
        sizes.append(float(effective_sample_size(tilted)))
    return fmean(first), fmean(second), min(sizes)


def means(rewards: Rewards) -> str:
    return f"{rewards.upper.mean():.3f}, {rewards.lower.mean():.3f}"


def rows(task: ImageTask) -> None:
    """One line for each strength."""
    pool = task.pool(POOL, SEED)
    for strength in STRENGTHS:
        first, second, size = reweighted(pool, strength)
        truth = f"{first:.3f}, {second:.3f} ({size:.0f})"
        guided = means(task.guided({"lambda": strength}, SAMPLES, SEED))
        particles = [means(with_particles(task, strength, count)) for count in PARTICLES]
        print("| " + " | ".join([task.name, f"{strength:g}", truth, guided, *particles]) + " |")


if __name__ == "__main__":
    titles = ["task", "lambda", "tilted pool (effective)", "guided"]
    titles += [f"{count} particles" for count in PARTICLES]
    print("E[r1], E[r2]:\n\n| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
    for name in sys.argv[1:]:
        chosen = registry.task(name)()
        assert isinstance(chosen, ImageTask)
        chosen.setup()
        rows(chosen)
