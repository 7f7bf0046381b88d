"""Samples a pipeline of diffusers by this project's own sampler, with its prompts encoded once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tasks.base import Meter
from tasks.diffusion import torchvision_shim
from tasks.finetune.pipelines.folder import PipelineFolder
from tasks.finetune.sampling import LogTilt, Sampler, Samples


class PromptedDiffusion(nn.Module):
    """Network and decoder of a pipeline of class StableDiffusion(XL)Pipeline, and its prompts."""

    def __init__(
        self,
        pipeline: Any,
        prompts: tuple[str, ...],
        guidance_scale: float,
        recompute: bool = False,
    ) -> None:
        """Take what sampling needs from `pipeline`. With `recompute` the decoder's graph of one
        image at a time is kept for the backward pass, at the price of decoding twice."""
        super().__init__()
        self.network = pipeline.unet.eval().requires_grad_(False)
        self.decoder = pipeline.vae.eval().requires_grad_(False)
        self.guidance_scale = guidance_scale
        self.scaling: float = pipeline.vae.config.scaling_factor
        self.signal: Tensor = pipeline.scheduler.alphas_cumprod.double().cpu()
        self.velocity = pipeline.scheduler.config.prediction_type == "v_prediction"
        size = self.network.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        self.shape = (self.network.config.in_channels, height, width)
        self.recompute = recompute
        with torch.no_grad():
            encoded = pipeline.encode_prompt(
                list(prompts),
                device=pipeline.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=True,
            )
        asked, null, *pooled = encoded
        self.register_buffer("embeddings", torch.cat([asked, null[:1]]))
        self.register_buffer("pooled", torch.cat([pooled[0], pooled[1][:1]]) if pooled else None)
        scale = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        original = (height * scale, width * scale)
        self.register_buffer("sizes", torch.tensor([[*original, 0, 0, *original]]).float())

    embeddings: Tensor
    """Embeddings of the prompts and, last, of the empty one: `(prompts + 1, tokens, d)`."""
    pooled: Tensor | None
    """The same of SDXL's second encoder as a whole: `(prompts + 1, p)`."""
    sizes: Tensor
    """What SDXL is told of an image's size: original, corner of the crop, target; `(1, 6)`."""

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

    def condition(self, labels: Tensor) -> dict[str, Any]:
        """What the network is told of 2 n rows: n of the empty prompt, then the prompts numbered
        `labels` `(n,)`."""
        null = torch.full_like(labels, len(self.embeddings) - 1)
        rows = torch.cat([null, labels])
        condition: dict[str, Any] = {"encoder_hidden_states": self.embeddings[rows]}
        if self.pooled is not None:
            condition["added_cond_kwargs"] = {
                "text_embeds": self.pooled[rows],
                "time_ids": self.sizes.expand(len(rows), -1),
            }
        return condition

    def predict(self, x: Tensor, time: int, condition: dict[str, Any]) -> Tensor:
        """Noise in `x` `(n, channels, h, w)` at `time`, in the precision of `x`."""
        rows = torch.cat([x, x]).to(self.network.dtype)
        at = torch.full((), time, device=x.device)  # of an int the network makes a blocking copy
        output = self.network(rows, at, **condition, return_dict=False)[0]
        null, asked = output.to(x.dtype).chunk(2)
        predicted = torch.lerp(null, asked, self.guidance_scale)
        if not self.velocity:
            return predicted
        share = float(self.signal[time])  # v = sqrt(share) eps - sqrt(1 - share) x0, 2202.00512
        return math.sqrt(share) * predicted + math.sqrt(1 - share) * x

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
def load(
    folder: PipelineFolder,
    prompts: tuple[str, ...],
    guidance_scale: float | None,
    batch: int,
    device: str,
) -> PromptedDiffusion:
    """The pipeline in `folder` for guided batches of `batch` images; once per process.

    Without a `guidance_scale` it is the default of the pipeline's class. Raises ValueError for a
    pipeline that is not supported, and anything for damaged files.
    """
    if problem := folder.problem():
        raise ValueError(problem)
    torchvision_shim.ensure()
    import diffusers

    name = folder.index["_class_name"]
    options: dict[str, Any] = {"add_watermarker": False}
    if name == "StableDiffusionPipeline":
        parts = dict.fromkeys(("safety_checker", "feature_extractor"))
        options = parts | {"requires_safety_checker": False}
    dtype = precision(device)
    with no_progress_bars():
        pipeline = getattr(diffusers, name).from_pretrained(
            folder.path,
            variant=folder.variant,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=find_spec("accelerate") is not None,  # else diffusers complains
            **options,
        )
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.bfloat16() if dtype is torch.bfloat16 else part.float()
    pipeline = pipeline.to(device)
    height, width = folder.side
    graph = batch * height * width * folder.kind.graph_bytes * dtype.itemsize / 2
    recompute = graph > 0.8 * _memory(device)
    scale = guidance_scale or folder.kind.guidance_scale
    return PromptedDiffusion(pipeline, prompts, scale, recompute).to(device)


def _memory(device: str) -> float:
    """Bytes of device memory; of the host's, there is always enough for a small model."""
    if not device.startswith("cuda"):
        return float("inf")
    return float(torch.cuda.get_device_properties(device).total_memory)


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
