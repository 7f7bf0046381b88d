"""Fine-tuning of Stable Diffusion 1.5: the task of the paper, on weights the user provides.

The lower level is this project's sampler over the pipeline's own network with classifier-free
guidance, in its latent space; rewards are taken on the decoded image. r1 and r2
(`tasks.finetune.sd15.natural_rewards`) are standardised on unguided samples, so that lambda has the
unit of the other tasks. What to fetch, what it costs and what is assumed of the device stands
in docs/your-data-and-models.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tasks.assets import inception
from tasks.assets.asset import Asset
from tasks.base import Candidate, Meter, Metric
from tasks.diffusion import torchvision_shim
from tasks.finetune.base import LOWER_REWARD, REWARD, per_group
from tasks.finetune.images import ImageTask
from tasks.finetune.latent import PATH_KL
from tasks.finetune.sampling import TRAIN_STEPS, LogTilt, Sampler, Samples
from tasks.finetune.sd15 import assets
from tasks.finetune.sd15.natural_rewards import ClipScore, RandomHead
from tasks.metrics.frechet import FrechetReference
from tasks.metrics.inception import InceptionFeatures

PROMPTS = (
    "a fox",
    "a horse",
    "a rabbit",
    "a horse standing on lush green grass",
    "a beautiful landscape",
)
"""Animals and a landscape, the kind of prompts that the paper shows."""
GUIDANCE_SCALE = 7.5
"""Classifier-free guidance (arXiv 2207.12598) towards the prompt: the pipeline's default."""
CLIP_AT = 100.0
"""Predicted clean latents are kept in [-100, 100]. The pre-trained model does not get there: at the
first step, where the signal share is 0.0047, even a network that saw no noise at all would predict
|x| / sqrt(0.0047), below 75 for |x| < 5. It only ends what guidance at a tiny lambda starts."""
GRAPH_BYTES = 18_000
"""Memory per pixel of the graph of one guided image in 16 bits: 1.6 GB of the network (two rows,
without attention matrices) and 3.0 GB of the decoder at 512 x 512, counted by
`python -m tests.speed.stable_diffusion_costs`."""
REFERENCE_SEED = 0
CLIP_SCORE = Metric("clip", "CLIP score", higher_is_better=True)
FID = Metric("fid", "FID (Inception) to the pre-trained model", log=True)


class PromptedDiffusion(nn.Module):
    """Network and decoder of a Stable Diffusion pipeline, with its prompts encoded once."""

    def __init__(self, pipeline: Any, prompts: tuple[str, ...], recompute: bool = False) -> None:
        """Take what sampling needs from `pipeline`. With `recompute` the decoder's graph of one
        image at a time is kept for the backward pass, at the price of decoding twice.

        Raises ValueError unless the network predicts noise on a thousand time steps.
        """
        super().__init__()
        settings = pipeline.scheduler.config
        if settings.prediction_type != "epsilon" or settings.num_train_timesteps != TRAIN_STEPS:
            raise ValueError(f"needs noise prediction on {TRAIN_STEPS} time steps, got {settings}")
        self.network = pipeline.unet.eval().requires_grad_(False)
        self.decoder = pipeline.vae.eval().requires_grad_(False)
        self.scaling: float = pipeline.vae.config.scaling_factor
        self.signal: Tensor = pipeline.scheduler.alphas_cumprod.double().cpu()
        side = self.network.config.sample_size
        self.shape = (self.network.config.in_channels, side, side)
        self.recompute = recompute
        with torch.no_grad():
            asked, null = pipeline.encode_prompt(list(prompts), pipeline.device, 1, True)
        self.register_buffer("embeddings", torch.cat([asked, null[:1]]))

    embeddings: Tensor
    """Embeddings of the prompts and, last, of the empty one: `(prompts + 1, tokens, d)`."""

    @torch.no_grad()
    def sample(
        self,
        labels: Tensor,
        sampler: Sampler,
        generator: torch.Generator,
        log_tilt: LogTilt | None,
        meter: Meter,
    ) -> Samples:
        """Images `(n, 3, height, width)` in [-1, 1] of the prompts numbered `labels` `(n,)`."""
        rows = torch.empty((len(labels), *self.shape), device=self.embeddings.device)
        condition = self.condition(labels)
        latents, path_kl = sampler.sample(
            lambda x, time: self.predict(x, time, condition),
            sampler.noise(rows, generator),
            generator,
            log_tilt and (lambda clean: log_tilt(self.decode(clean))),
            meter,
        )
        with meter.charge("decode", len(labels)):
            return Samples(self.decode(latents), path_kl)

    def condition(self, labels: Tensor) -> Tensor:
        """Embeddings `(2 n, tokens, d)`: n empty prompts, then those numbered `labels` `(n,)`."""
        null = torch.full_like(labels, len(self.embeddings) - 1)
        return self.embeddings[torch.cat([null, labels])]

    def predict(self, x: Tensor, time: int, condition: Tensor) -> Tensor:
        """Noise in `x` `(n, channels, h, w)` at `time`, in the precision of `x`."""
        rows = torch.cat([x, x]).to(condition.dtype)
        at = torch.full((), time, device=x.device)  # of an int the network makes a blocking copy
        noise = self.network(rows, at, encoder_hidden_states=condition, return_dict=False)[0]
        null, asked = noise.to(x.dtype).chunk(2)
        return torch.lerp(null, asked, GUIDANCE_SCALE)

    def decode(self, latents: Tensor) -> Tensor:
        """Images of scaled latents, as a viewer sees them: clamped to [-1, 1]."""
        if not (self.recompute and latents.requires_grad):
            return self._decode(latents)
        return torch.cat(
            [
                checkpoint(self._decode, one, use_reentrant=False, preserve_rng_state=False)
                for one in torch.split(latents, 1)
            ]
        )

    def _decode(self, latents: Tensor) -> Tensor:
        scaled = (latents / self.scaling).to(self.decoder.dtype)
        pixels: Tensor = self.decoder.decode(scaled, return_dict=False)[0]
        return pixels.to(latents.dtype).clamp(-1, 1)


def precision(device: str) -> torch.dtype:
    """Number format of network and decoder. Not float16: at large lambda the gradient of
    r2 / lambda in a single pixel comes near the smallest number that it holds."""
    if device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


@cache
def load_diffusion(
    found: assets.Paths, prompts: tuple[str, ...], batch: int, device: str
) -> PromptedDiffusion:
    """The pipeline at `found` for guided batches of `batch` images; once per process."""
    torchvision_shim.ensure()
    from diffusers import StableDiffusionPipeline

    dtype = precision(device)
    with no_progress_bars(), assets.PIPELINE.loading(found.pipeline):
        pipeline = StableDiffusionPipeline.from_pretrained(
            found.pipeline,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=find_spec("accelerate") is not None,  # else diffusers complains
        )
    if dtype is torch.bfloat16:
        for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            module.bfloat16()
    pipeline = pipeline.to(device)
    pixels = (pipeline.unet.config.sample_size * pipeline.vae_scale_factor) ** 2
    graph = batch * pixels * GRAPH_BYTES * dtype.itemsize / 2
    model = PromptedDiffusion(pipeline, prompts, recompute=graph > 0.8 * _memory(device))
    return model.to(device)


def _memory(device: str) -> float:
    """Bytes of device memory; of the host's, there is always enough for a small model."""
    if not device.startswith("cuda"):
        return float("inf")
    return float(torch.cuda.get_device_properties(device).total_memory)


@cache
def load_rewards(
    found: assets.Paths, prompts: tuple[str, ...], device: str
) -> tuple[ClipScore, RandomHead]:
    """Both reward models, in float32; once per process."""
    with no_progress_bars():
        return ClipScore(found.clip, prompts).to(device), RandomHead(found.resnet).to(device)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Let diffusers and transformers load in silence."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    loggings = (of_diffusers, of_transformers)
    shown = [logging.is_progress_bar_enabled() for logging in loggings]
    for logging in loggings:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        for logging, was_shown in zip(loggings, shown, strict=True):
            if was_shown:
                logging.enable_progress_bar()


@dataclass(frozen=True)
class Reference:
    """Statistics of the pre-trained model's own samples."""

    upper: tuple[float, float]
    """Mean and standard deviation of the CLIP score."""
    lower: tuple[float, float]
    """Mean and standard deviation of the random head."""
    features: FrechetReference | None


class FinetuneStableDiffusion(ImageTask):
    """Look like the prompt while being tilted by another reward: one entropy strength."""

    name = "finetune/sd15"
    description = "Entropy strength of reward-guided sampling, Stable Diffusion 1.5"
    citation = "Xiao et al., ICML 2025, arXiv 2502.08808, application 1"
    metrics: ClassVar[tuple[Metric, ...]] = (REWARD, LOWER_REWARD, CLIP_SCORE, PATH_KL)
    """FID is added where the Inception file is provided."""
    groups = len(PROMPTS)
    batch = 5
    samples = 100
    evaluation_samples = 250
    reference_samples: ClassVar[int] = 500
    """Unguided samples that rewards are standardised on and FID is measured to."""
    steps: ClassVar[int] = 25
    budget = 2.0

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        if inception.provided() is not None:
            self.metrics = (*self.metrics, FID)  # type: ignore[misc]

    @classmethod
    def assets(cls) -> tuple[Asset, ...]:
        return (*(part.asset() for part in assets.PARTS), inception.asset())

    @classmethod
    def unavailable(cls) -> str | None:
        return assets.unavailable()

    def setup(self) -> None:
        """Load the models, then measure the pre-trained one: minutes on a GPU, once per
        process."""
        self._load()
        self.reference = _measure(type(self), assets.find(), self.device)

    def _load(self) -> None:
        found = assets.find()
        self.model = load_diffusion(found, PROMPTS, self.batch, self.device)
        self.clip_score, self.random_head = load_rewards(found, PROMPTS, self.device)
        self.features = _inception(found, self.device)
        self.sampler = Sampler(self.steps, clip=CLIP_AT, signal=self.model.signal)

    def generate(
        self,
        labels: Tensor,
        sampler: Sampler,
        generator: torch.Generator,
        log_tilt: LogTilt | None,
    ) -> Samples:
        return self.model.sample(labels, sampler, generator, log_tilt, self.meter)

    def lower(self, images: Tensor, labels: Tensor) -> Tensor:
        mean, scale = self.reference.lower
        raw: Tensor = self.random_head(images)
        return (raw - mean) / scale

    def upper(self, images: Tensor, labels: Tensor) -> Tensor:
        mean, scale = self.reference.upper
        raw: Tensor = self.clip_score(images, labels)
        return (raw - mean) / scale

    @torch.no_grad()
    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        drawn = self.drawn(candidate, self.evaluation_samples, seed)
        rewards = self._scored(drawn)
        reward = rewards.upper.double().mean().item()
        mean, scale = self.reference.upper
        values = {
            "reward": reward,
            "lower_reward": rewards.lower.double().mean().item(),
            "clip": mean + scale * reward,
            "path_kl": drawn.path_kl.double().mean().item(),
        }
        features = self.inception_features(drawn.images)
        if features is not None and self.reference.features is not None:
            values["fid"] = self.reference.features.distance(features).item()
        return values

    def inception_features(self, images: Tensor) -> Tensor | None:
        """Features `(n, 2048)` of images `(n, 3, h, w)`; None without the Inception weights."""
        if self.features is None:
            return None
        return torch.cat([self.features(part) for part in torch.split(images, self.batch)])

    def evaluator(self) -> dict[str, Any]:
        fid = "Inception features, clean-fid" if self.features else "not measured: no DTB_INCEPTION"
        return super().evaluator() | {
            "reference": f"{self.reference_samples} unguided samples, seed {REFERENCE_SEED}",
            "fid": fid,
            "prompts": list(PROMPTS),
            "steps": self.steps,
            "precision": str(precision(self.device)).removeprefix("torch."),
            "weights": assets.fingerprints(),
        }


class FinetuneStableDiffusionPerPrompt(FinetuneStableDiffusion):
    """One entropy strength per prompt."""

    name = "finetune/sd15-perprompt"
    description = "Entropy strengths of reward-guided Stable Diffusion 1.5, one per prompt"
    space = per_group(len(PROMPTS))


@cache
def _inception(found: assets.Paths, device: str) -> InceptionFeatures | None:
    return InceptionFeatures(found.inception, device) if found.inception else None


@cache
@torch.no_grad()
def _measure(
    task_type: type[FinetuneStableDiffusion], found: assets.Paths, device: str
) -> Reference:
    """Draw and rate unguided samples; once per process, not charged."""
    task = task_type(device)
    task._load()
    images, labels, _ = task.draw(None, task.reference_samples, REFERENCE_SEED)
    parts = list(zip(torch.split(images, task.batch), torch.split(labels, task.batch), strict=True))
    upper = torch.cat([task.clip_score(*part) for part in parts]).double()
    lower = torch.cat([task.random_head(part) for part, _ in parts]).double()
    features = task.inception_features(images)
    return Reference(
        (upper.mean().item(), upper.std().item()),
        (lower.mean().item(), lower.std().item()),
        None if features is None else FrechetReference(features),
    )
