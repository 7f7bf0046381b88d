"""How far guided samples are from the tilted law they stand for, as Markdown.

    python docs/studies/sampler_accuracy.py finetune/digits finetune/mnist

The truth is a large pool of the pre-trained model, reweighted by exp(r2 / lambda): unbiased in
the limit, and trustworthy while its effective sample size is large.
"""

import sys

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
    """Rewards of `SAMPLES` rows in groups of `particles` that share a class."""
    generator = task.generator(SEED)
    sampler = ParticleSampler(clip=task.sampler.clip, particles=particles)
    labels = (torch.arange(SAMPLES // particles) % task.groups).repeat_interleave(particles)
    images = task.generate(
        labels, sampler, generator, lambda images: task.lower(images, labels) / strength
    ).clean
    return task.rate(images, labels)


def means(rewards: Rewards) -> str:
    return f"{rewards.upper.mean():.3f}, {rewards.lower.mean():.3f}"


def rows(task: ImageTask) -> None:
    """One line for each strength."""
    pool = task.pool(POOL, SEED)
    for strength in STRENGTHS:
        tilted = log_weights(pool.lower / strength)
        size = effective_sample_size(tilted) / POOL
        weights = tilted.exp()
        truth = f"{weights @ pool.upper:.3f}, {weights @ pool.lower:.3f} ({size:.0%})"
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
