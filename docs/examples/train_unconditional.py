"""Trains a small diffusion model of handwritten digits, in the shape of diffusers' example of
unconditional training: with its options and checkpoints, but torch and scikit-learn alone.

It knows nothing of the benchmark. It can be tuned because it prints its losses as JSON lines.
"""

import argparse
import json
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU, "gelu": nn.GELU}


class Network(nn.Module):
    """Predicts the noise in `(n, 1, 8, 8)` images at signal shares `(n, 1, 1, 1)`."""

    def __init__(self, layers: int, act: str, channels: int = 24) -> None:
        super().__init__()
        widths = [2, *[channels] * layers]
        parts = []
        for i in range(layers):
            parts += [nn.Conv2d(widths[i], widths[i + 1], 3, padding=1), ACTIVATIONS[act]()]
        self.layers = nn.Sequential(*parts, nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, noisy: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        return self.layers(torch.cat([noisy, share.expand_as(noisy)], dim=1))


def loss(network: nn.Module, images: torch.Tensor, seed: int | None = None) -> torch.Tensor:
    """Mean squared error of the predicted noise under a cosine schedule, at random steps."""
    generator = torch.Generator().manual_seed(seed) if seed is not None else None
    noise = torch.randn(images.shape, generator=generator)
    angle = torch.rand((len(images), 1, 1, 1), generator=generator) * torch.pi / 2
    noisy = angle.cos() * images + angle.sin() * noise
    device = next(network.parameters()).device
    return nn.functional.mse_loss(
        network(noisy.to(device), angle.cos().to(device)), noise.to(device)
    )


parser = argparse.ArgumentParser()
parser.add_argument("--learning_rate", type=float, default=1e-4)
parser.add_argument("--layers", type=int, default=2)
parser.add_argument("--act_fn", choices=ACTIVATIONS, default="silu")
parser.add_argument("--max_train_steps", type=int, default=150)
parser.add_argument("--checkpointing_steps", type=int, default=50)
parser.add_argument("--output_dir", type=Path, required=True)
parser.add_argument("--resume_from_checkpoint", choices=["latest"])
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--device", default="cpu")
options = parser.parse_args()

torch.manual_seed(options.seed)
digits = torch.tensor(load_digits().images / 8 - 1, dtype=torch.float32)[:, None]
train, validation, test = digits[:1000], digits[1000:1400], digits[1400:]
network = Network(options.layers, options.act_fn).to(options.device)
optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate)
checkpoint = options.output_dir / "checkpoint.pt"
first = 0
if options.resume_from_checkpoint and checkpoint.exists():
    stored = torch.load(checkpoint, weights_only=True)
    first = stored["step"]
    network.load_state_dict(stored["network"])
    optimizer.load_state_dict(stored["optimizer"])

for step in range(first + 1, options.max_train_steps + 1):
    loss(network, train[torch.randint(len(train), (64,))]).backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if step % options.checkpointing_steps == 0:
        with torch.no_grad():  # the same noise each time
            losses = {
                "validation_loss": loss(network, validation, seed=0).item(),
                "test_loss": loss(network, test, seed=1).item(),
            }
        states = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({"step": step, **states}, checkpoint)
        print(json.dumps({"step": step, **losses}))
