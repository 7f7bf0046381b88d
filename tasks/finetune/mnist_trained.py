"""Fine-tuning the weights of the latent model of MNIST: a training takes seconds on a CPU."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch

from tasks.base import Candidate
from tasks.finetune.images import Drawn
from tasks.finetune.mnist import FinetuneMnist
from tasks.finetune.models import GUIDANCE_SCALE, NoisePredictor
from tasks.finetune.rewards import Rewards
from tasks.finetune.sampling import Sampler
from tasks.finetune.trained import Path, TrainedTask


class FinetuneMnistTrained(TrainedTask, FinetuneMnist):
    """Bold but recognisable MNIST digits from a noise predictor trained on ink.

    Model, rewards and metrics are those of `finetune/mnist`. All weights of the noise predictor are
    trained through an ancestral sampler of 12 steps. Its last step, which adds no noise, so that a
    change would be free of charge there, is left to the pre-trained network.
    """

    name = "finetune/mnist-trained"
    description = "Entropy strength of a fine-tuning by training, MNIST at 14 x 14"
    trial_steps = 40
    step_size = 1e-3
    batch_size = 64
    steps = 12
    samples = 500
    budget = 45 / 3600

    def setup(self) -> None:
        super().setup()
        self.sampler = Sampler(steps=self.steps)

    def build(self) -> NoisePredictor:
        return copy.deepcopy(self.model.denoiser).requires_grad_(True)

    def follow(
        self, net: torch.nn.Module, count: int, generator: torch.Generator, mix: float = 1.0
    ) -> Path:
        drawn = self._drawn(net, count, generator, mix)
        rewards = Rewards(
            self.upper(drawn.images, drawn.labels), self.lower(drawn.images, drawn.labels),
            drawn.labels,
        )  # fmt: skip
        return Path(rewards, drawn.path_kl)

    def _drawn(
        self, net: torch.nn.Module, count: int, generator: torch.Generator, mix: float
    ) -> Drawn:
        assert isinstance(net, NoisePredictor)
        labels = torch.arange(count, device=self.device) % self.groups
        x = self.sampler.noise(torch.empty(count, self.model.latent, device=self.device), generator)
        path_kl = torch.zeros(count, device=self.device)
        for step in self.sampler.steps_taken():
            known = self.model.denoiser.guided(x, step.time, labels, GUIDANCE_SCALE)
            plain = step.mean(x, known)
            if not step.variance:
                x = plain
                break
            learned = net.guided(x, step.time, labels, GUIDANCE_SCALE)
            mean = step.mean(x, torch.lerp(known, learned, mix))
            path_kl = path_kl + step.divergence(mean, plain)
            x = mean + math.sqrt(step.variance) * self.sampler.noise(mean, generator)
        return Drawn(self.model.autoencoder.decode(x), labels, path_kl)

    @torch.no_grad()
    def drawn(self, candidate: Candidate, count: int, seed: int) -> Drawn:
        net, mix = self.network(candidate), candidate.state["mix"]
        return self._drawn(net, count, self.generator(seed), mix)

    def evaluator(self) -> dict[str, Any]:
        return super().evaluator() | {"sampler": f"ancestral, {self.steps} steps"}
