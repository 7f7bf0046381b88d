"""The cost of one image of Stable Diffusion 1.5, counted without its parameters and without a GPU.

    python -m tests.speed.stable_diffusion_costs

The published architectures are built on torch's meta device, which has shapes but no numbers:
floating-point operations are counted by torch, memory as what a graph in 16 bits keeps for its
backward pass. Attention matrices are left out, as fused attention does not keep them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tasks.diffusion import torchvision_shim
from tasks.finetune.pipelines.model import no_progress_bars
from tasks.finetune.sd15.task import FinetuneStableDiffusion

PEAK = {"A100": 312, "H100": 989}
"""Dense 16-bit TFLOP/s of the data sheets."""
TOKENS = 77
LARGEST_SIDE = 512
UTILISATION = 0.4
"""Assumed share of it; not measured."""


class Cost(NamedTuple):
    """Counts of one part for one image."""

    forward: float
    """TFLOP."""
    backward: float
    """TFLOP, for the gradient in the input alone."""
    graph: float
    """GB kept with frozen parameters."""
    unfrozen: float
    """GB kept where parameters require gradients."""


def parts() -> dict[str, tuple[nn.Module, Callable[[Any, Tensor], Tensor], tuple[int, ...]]]:
    """Network, decoder and rewards with how to call them, and the shape of one image's input."""
    torchvision_shim.ensure()
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from torchvision.models import resnet18
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    with torch.device("meta"), no_progress_bars():
        text = torch.empty(2, TOKENS, 768, dtype=torch.bfloat16)
        network = UNet2DConditionModel(
            cross_attention_dim=768, sample_size=64, attention_head_dim=8
        )
        autoencoder = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
        )
        clip = CLIPVisionModelWithProjection(CLIPVisionConfig(patch_size=16, projection_dim=512))
        return {
            "network, two rows": (
                network,
                lambda m, x: m(torch.cat([x, x]), 500, text).sample,
                (1, 4, 64, 64),
            ),
            "decoder": (autoencoder, lambda m, x: m.decode(x).sample, (1, 4, 64, 64)),
            "r2, ResNet-18": (resnet18(), lambda m, x: m(x), (1, 3, 224, 224)),
            "r1, CLIP ViT-B/16": (clip, lambda m, x: m(x).image_embeds, (1, 3, 224, 224)),
        }


def cost(module: nn.Module, call: Callable[[Any, Tensor], Tensor], shape: tuple[int, ...]) -> Cost:
    """Count one forward and backward pass of `module` in 16 bits."""
    module = module.bfloat16().eval()
    kept = [graph(module.requires_grad_(flag), call, shape) for flag in (True, False)]
    x = torch.empty(shape, device="meta", dtype=torch.bfloat16, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        output = call(module, x)
        forward = counter.get_total_flops()
        torch.autograd.backward(output.sum())
        total = counter.get_total_flops()
    return Cost(forward / 1e12, (total - forward) / 1e12, kept[1], kept[0])


def graph(
    module: nn.Module, call: Callable[[Any, Tensor], Tensor], shape: tuple[int, ...]
) -> float:
    """GB that the graph of `call` keeps, parameters and attention matrices not counted."""
    own = {t.untyped_storage()._cdata for t in (*module.parameters(), *module.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in own and not _is_attention(tensor):
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    x = torch.empty(shape, device="meta", dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        call(module, x)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 1e9


def _is_attention(tensor: Tensor) -> bool:
    """Whether it has one number per pair of tokens: pixels (more than in a row) or words."""
    return tensor.ndim > 2 and (
        tensor.shape[-1] == TOKENS or tensor.shape[-1] == tensor.shape[-2] > LARGEST_SIDE
    )


def main() -> None:
    costs = {name: cost(*made) for name, made in parts().items()}
    network, decoder, lower, upper = costs.values()
    used = (network, decoder, lower)
    step = sum(part.forward + part.backward for part in used)
    print(
        f"{'per image':20} {'TFLOP fwd':>9} {'bwd':>7} {'share':>7} {'graph GB':>8} {'unfrozen':>8}"
    )
    for name, part in costs.items():
        share = (part.forward + part.backward) / step if part in used else 0
        print(
            f"{name:20} {part.forward:9.3f} {part.backward:7.3f} {share:7.1%} "
            f"{part.graph:8.2f} {part.unfrozen:8.2f}"
        )
    task = FinetuneStableDiffusion
    unguided = task.steps * network.forward + decoder.forward
    guided = task.steps * step + decoder.forward + lower.forward + upper.forward
    print(f"unguided image {unguided:.0f} TFLOP, guided {guided:.0f} TFLOP, {task.steps} steps")
    again = task.steps * decoder.forward
    print(f"decoding again in the backward pass: +{again / guided:.0%}")
    for device, peak in PEAK.items():
        second = UTILISATION * peak
        print(
            f"{device} at {UTILISATION:.0%} of {peak} TFLOP/s: guided {guided / second:.2f} s, "
            f"unguided {unguided / second:.2f} s, trial of {task.samples} "
            f"{task.samples * guided / second:.0f} s, setup "
            f"{task.reference_samples * unguided / second:.0f} s, evaluation "
            f"{task.evaluation_samples * guided / second:.0f} s"
        )
    memory = task.batch * (network.graph + decoder.graph + lower.graph)
    print(
        f"graph of a batch of {task.batch}: {memory:.1f} GB; decoded again one by one: "
        f"{task.batch * network.graph + decoder.graph:.1f} GB"
    )


if __name__ == "__main__":
    main()
