"""Guided sampling beside diffusers' own pipeline and the published loop, in one process.

    python -m tests.speed.guided_sampling --json guided_sampling.json

Same network, precision, batch and steps on both sides of every row; repetitions alternate, in
reversed order every time. Without the pre-trained models (docs/your-data-and-models.md) a tiny
untrained pipeline replaces Stable Diffusion: its ratios measure overhead, not convolutions.

The published guidance is reimplemented from its description (arXiv 2404.14743 as used by
2502.08808): parameters that require gradients, text encoded in every call, the decoder inside the
graph, each
sample's reward linearised at its image of the round before, a squared error averaged over the
batch, the scheduler's step, and a first round guided by a gradient of zero.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.base import FreeMeter
from tasks.diffusion import torchvision_shim
from tasks.finetune.mnist import FinetuneMnist
from tasks.finetune.models import GUIDANCE_SCALE as DIGITS_SCALE
from tasks.finetune.pipelines.model import no_progress_bars
from tasks.finetune.sampling import Sampler
from tasks.finetune.sd15 import assets
from tasks.finetune.sd15.task import GUIDANCE_SCALE, PROMPTS, FinetuneStableDiffusion
from tasks.finetune.solvers import Linearised
from tests.speed import tiny_pipeline
from tests.speed.measure import Row, compare, kept_megabytes, machine, timed
from tests.speed.measure import show as show_rows

STRENGTH = {"lambda": 10.0}
ROUNDS = 2


def ddim(settings: Any, steps: int) -> Any:
    """diffusers' DDIM scheduler on our time steps, for a pipeline with `settings`."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_config(
        settings, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True
    )
    scheduler.set_timesteps(steps)
    return scheduler


class Published:
    """The published loop around a pipeline whose parameters were left as they were loaded."""

    def __init__(self, pipeline: Any, reward: Any, steps: int) -> None:
        self.pipeline, self.reward, self.steps = pipeline, reward, steps
        self.linear: Tensor | None = None

    def rounds(self, labels: Tensor, noise: Tensor, count: int) -> Tensor:
        """Images after `count` rounds from the same noise."""
        gradient, bias = noise.new_zeros(1), noise.new_zeros(1)
        for _ in range(count):
            images = self.pass_once(labels, noise, gradient, bias)
            leaf = images.detach().requires_grad_()
            values = self.reward(leaf)
            torch.autograd.backward(values.sum())
            assert leaf.grad is not None
            gradient = leaf.grad
            bias = values.detach() - (gradient * images).flatten(1).sum(dim=1)
        return images

    def pass_once(self, labels: Tensor, noise: Tensor, gradient: Tensor, bias: Tensor) -> Tensor:
        """One sampling pass guided by the linearised reward `gradient` · image + `bias`."""
        pipeline, vae = self.pipeline, self.pipeline.vae
        prompts = [PROMPTS[label] for label in labels]
        with torch.no_grad():
            asked, null = pipeline.encode_prompt(prompts, noise.device, 1, True)
            text = torch.cat([null, asked])
        pipeline.scheduler.set_timesteps(self.steps)
        latents = noise
        for time_step in pipeline.scheduler.timesteps:
            share = pipeline.scheduler.alphas_cumprod[time_step]
            with torch.enable_grad():
                latents = latents.detach().requires_grad_()
                eps = pipeline.unet(
                    torch.cat([latents] * 2), time_step, encoder_hidden_states=text
                ).sample
                without, towards = eps.chunk(2)
                eps = without + GUIDANCE_SCALE * (towards - without)
                clean = (latents - (1 - share) ** 0.5 * eps) / share**0.5
                image = vae.decode(clean / vae.config.scaling_factor).sample
                linear = (gradient * image).flatten(1).sum(dim=1) + bias
                error = 0.5 * torch.nn.functional.mse_loss(linear, torch.ones_like(linear))
                (slope,) = torch.autograd.grad(error, latents)
                eps = eps + (1 - share) ** 0.5 * slope / STRENGTH["lambda"]
            eps = eps.detach()
            latents = pipeline.scheduler.step(eps, time_step, latents.detach()).prev_sample
        with torch.no_grad():
            return vae.decode(latents / vae.config.scaling_factor).sample


def stable_diffusion_rows(task: FinetuneStableDiffusion, batch: int) -> dict[str, Row]:
    """Rows that generate `batch` images, counted in network evaluations (images x steps)."""
    torchvision_shim.ensure()
    from diffusers import StableDiffusionPipeline

    steps, model = task.steps, task.model
    labels = torch.arange(batch, device=task.device) % task.groups
    with no_progress_bars():
        pipeline = StableDiffusionPipeline.from_pretrained(
            assets.find().pipeline,
            safety_checker=None,
            requires_safety_checker=False,
            local_files_only=True,
        )
    if model.decoder.dtype is torch.bfloat16:
        for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            module.bfloat16()
    pipeline = pipeline.to(task.device)
    pipeline.scheduler = ddim(pipeline.scheduler.config, steps)
    pipeline.set_progress_bar_config(disable=True)
    head = deepcopy(task.r2).requires_grad_(True)
    mean, scale = task.reference.lower

    def reward(images: Tensor) -> Tensor:
        return (head((images.clamp(-1, 1) + 1) / 2, ()) - mean) / scale

    published = Published(pipeline, reward, steps)
    noise = torch.randn((batch, *model.shape), generator=task.generator(1), device=task.device)
    noise = noise.to(model.decoder.dtype)
    with torch.no_grad():
        asked, null = pipeline.encode_prompt(
            [PROMPTS[label] for label in labels], task.device, 1, True
        )

    def plain(**text: Any) -> Any:
        return pipeline(
            num_inference_steps=steps,
            eta=1.0,
            latents=noise,
            guidance_scale=GUIDANCE_SCALE,
            generator=task.generator(1),
            output_type="pt",
            **text,
        )

    def unguided() -> Any:
        return model.sample(labels, task.sampler, task.generator(1), None, FreeMeter())

    def linearised(rounds: int) -> Any:
        return task.draw(STRENGTH, batch, 1, Linearised(rounds))

    return {
        "unguided; pipeline call": Row(
            unguided,
            lambda: plain(prompt=[PROMPTS[label] for label in labels]),
            batch * steps,
        ),
        "unguided; pipeline call, text encoded before": Row(
            unguided,
            lambda: plain(prompt_embeds=asked, negative_prompt_embeds=null),
            batch * steps,
        ),
        "guided; published loop, one round": Row(
            lambda: task.draw(STRENGTH, batch, 1),
            lambda: published.rounds(labels, noise, 1),
            batch * steps,
        ),
        f"published guidance, {ROUNDS} rounds; published loop": Row(
            lambda: linearised(ROUNDS),
            lambda: published.rounds(labels, noise, ROUNDS),
            ROUNDS * batch * steps,
        ),
    }


def digit_rows(task: FinetuneMnist) -> dict[str, Row]:
    """The shipped latent diffusion model beside a plain loop with diffusers' scheduler."""
    model, sampler = task.model, Sampler()
    labels = torch.arange(task.batch) % task.groups
    from diffusers import DDPMScheduler

    settings = DDPMScheduler(
        1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    ).config

    @torch.no_grad()
    def loop() -> Tensor:
        generator = task.generator(1)
        scheduler = ddim(settings, sampler.steps)
        x = torch.randn(len(labels), model.latent, generator=generator)
        for time_step in scheduler.timesteps:
            eps = model.denoiser.guided(x, int(time_step), labels, DIGITS_SCALE)
            x = scheduler.step(eps, time_step, x, eta=1.0, generator=generator).prev_sample
        return model.autoencoder.decode(x)

    def ours() -> Tensor:
        return model.sample(labels, sampler, task.generator(1)).clean

    evaluations = task.batch * sampler.steps
    return {"digits, unguided; loop with DDIMScheduler.step": Row(ours, loop, evaluations)}


def shares(task: FinetuneStableDiffusion, batch: int, repetitions: int) -> list[dict]:
    """Least seconds of each part of one guided step, forwards and backwards, and its share."""
    labels = torch.arange(batch, device=task.device) % task.groups
    model, step = task.model, task.sampler.steps_taken()[-2]
    condition = model.condition(labels)
    noise = torch.randn((batch, *model.shape), generator=task.generator(1), device=task.device)
    found: dict[str, list[float]] = {}

    def part(name: str, work: Callable[[], Tensor]) -> Tensor:
        result: list[Tensor] = []
        found.setdefault(name, []).append(timed(lambda: result.append(work()), task.device))
        return result[0]

    def back(name: str, output: Tensor, leaf: Tensor, upstream: Tensor | None) -> Tensor:
        return part(name, lambda: torch.autograd.grad(output, leaf, upstream)[0])

    def once() -> None:
        x = noise.clone().requires_grad_()
        eps = part("network, forward", lambda: model.predict(x, step.time, condition))
        clean = ((x - step.sigma * eps) / step.root).detach().requires_grad_()
        image = part("decoder, forward", lambda: model.decode(clean))
        leaf = image.detach().requires_grad_()
        tilt = part("reward, forward", lambda: task.lower(leaf, labels)).sum() / 10
        at_image = back("reward, backward", tilt, leaf, None)
        at_clean = back("decoder, backward", image, clean, at_image)
        back("network, backward", eps, x, at_clean)

    for _ in range(repetitions):
        once()
    least = {name: min(values) for name, values in found.items()}
    total = sum(least.values())
    return [{"part": k, "seconds": v, "share": v / total} for k, v in least.items()]


def graphs(task: FinetuneStableDiffusion, batch: int) -> dict[str, float]:
    """Megabytes that one guided step keeps for its backward pass, with and without frozen
    parameters."""
    frozen = _graph(task, batch)
    parts = (task.model.network, task.model.decoder, task.r2)
    for module in parts:
        module.requires_grad_(True)
    try:
        return {"frozen": frozen, "not frozen": _graph(task, batch)}
    finally:
        for module in parts:
            module.requires_grad_(False)


def _graph(task: FinetuneStableDiffusion, batch: int) -> float:
    labels = torch.arange(batch, device=task.device) % task.groups
    condition, step = task.model.condition(labels), task.sampler.steps_taken()[-2]

    def work() -> Tensor:
        noise = torch.randn((batch, *task.model.shape), device=task.device, requires_grad=True)
        eps = task.model.predict(noise, step.time, condition)
        return task.lower(task.model.decode((noise - step.sigma * eps) / step.root), labels)

    return kept_megabytes(work, task.model, task.r2)


def main() -> None:
    arguments = parse()
    if not arguments.device.startswith("cuda"):
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tiny = assets.unavailable() is not None
        if tiny:
            saved = tiny_pipeline.save(Path(folder), true_size=arguments.true_size)
            os.environ.update(saved)
        task_type: Any = type("Measured", (FinetuneStableDiffusion,), {})
        task_type.steps, task_type.reference_samples = arguments.steps, arguments.batch
        task = task_type(arguments.device)
        task.setup()
        digits = FinetuneMnist()
        digits.setup()
        rows = stable_diffusion_rows(task, arguments.batch)
        table = compare(rows, arguments.repetitions, arguments.device)
        table += compare(digit_rows(digits), 4 * arguments.repetitions, "cpu")
        report = {
            "pipeline": _pipeline_name(tiny, arguments.true_size),
            "batch": arguments.batch,
            "steps": arguments.steps,
            "machine": machine(arguments.device, task.model.decoder.dtype),
            "rows": table,
            "shares": shares(task, arguments.batch, arguments.repetitions),
            "graph_mb": graphs(task, arguments.batch),
        }
    show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def _pipeline_name(untrained: bool, true_size: bool) -> str:
    if not untrained:
        return "Stable Diffusion 1.5"
    return "Stable Diffusion 1.5, untrained" if true_size else "tiny, untrained"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="where to write the measurements")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--batch", type=int, default=FinetuneStableDiffusion.batch)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--true-size", action="store_true", help="without weights: random ones of the true size"
    )
    return parser.parse_args()


def show(report: dict[str, Any]) -> None:
    """Print the measurements: network evaluations per second, and theirs / ours in time."""
    print(json.dumps({key: report[key] for key in ("pipeline", "batch", "steps", "machine")}))
    show_rows(report["rows"], "network evaluations: ours; theirs")
    for row in report["shares"]:
        print(f"{row['part']:20} {1e3 * row['seconds']:8.1f} ms {row['share']:6.1%}")
    print("graph of one guided step, MB:", report["graph_mb"])


if __name__ == "__main__":
    main()
