"""What the files of a pipeline say about it, read without loading it.

A folder in diffusers' layout has a `model_index.json`, which names a class and its components, and
one folder for each component with its settings and parameters.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tasks.assets.pretrained import fingerprint
from tasks.finetune.sampling import TRAIN_STEPS

LAYOUT = "a folder that diffusers' `save_pretrained` has written"
PARAMETERS = re.compile(r"(diffusion_pytorch_)?model(\.fp16)?(-\d+-of-\d+)?\.safetensors")


class Kind(NamedTuple):
    """What is particular to a class of pipelines."""

    text_encoders: tuple[str, ...]
    guidance_scale: float
    """The default of the class itself."""
    added: str | None
    """What the network is conditioned on beside the prompt (`addition_embed_type`)."""
    graph_bytes: int
    """Memory per pixel of the graph of one guided image in 16 bits, without attention matrices."""


KINDS = {
    "StableDiffusionPipeline": Kind(("text_encoder",), 7.5, None, 18_000),
    "StableDiffusionXLPipeline": Kind(("text_encoder", "text_encoder_2"), 5.0, "text_time", 22_000),
}
"""Graphs are counted on the published architectures (`tests.speed.stable_diffusion_costs` for 1.5):
at 512 x 512, 1.6 GB of the network's two rows and 3.0 GB of the decoder; at 1024 x 1024, 10.6 GB of
SDXL's network and four times as much of the decoder."""
CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}
PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class PipelineFolder:
    """A folder that may hold a pipeline. `problem` says whether it does; the rest needs that."""

    path: Path

    def problem(self) -> str | None:
        """Why it cannot be tuned, in one line; None if it can. Reads settings, no parameters."""
        try:
            reason = next(filter(None, (check() for check in self._checks)), None)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            reason = f"its settings cannot be read ({type(error).__name__}: {error})"
        return reason and f"{self.path}: {reason}"

    @property
    def _checks(self) -> tuple[Any, ...]:
        return self._layout, self._components, self._scheduler, self._network

    def _layout(self) -> str | None:
        if self.path.is_file():
            return (
                f"a single file; a pipeline is {LAYOUT}: `from_single_file`, then `save_pretrained`"
            )
        if not (self.path / "model_index.json").is_file():
            return f"no pipeline, which is {LAYOUT}: there is no model_index.json"
        found = self.index.get("_class_name")
        if found not in KINDS:
            return f"a {found}; supported are {' and '.join(KINDS)}"
        return None

    def _components(self) -> str | None:
        for name in ("scheduler", *self._with_parameters):
            library, found = self.index.get(name) or (None, None)
            if library not in ("diffusers", "transformers"):
                return f"its {name} is {found}, which is no class of diffusers or transformers"
            if found != CLASSES.get(name, found):
                return f"its {name} is a {found}; supported is {CLASSES[name]}"
        for name in self._with_parameters:
            if not (self.path / name / "config.json").is_file():
                return f"{name}/config.json is missing"
            if not self._files(name):
                return f"{name} has no parameters as safetensors"
        for name in self.kind.text_encoders:
            if not (self.path / name.replace("text_encoder", "tokenizer")).is_dir():
                return f"{name} has no tokenizer"
        return None

    def _scheduler(self) -> str | None:
        found = self.settings("scheduler")
        predicted = found.get("prediction_type", "epsilon")
        if "beta_schedule" not in found or found.get("use_flow_sigmas"):
            return "its scheduler has no noise levels of a diffusion (flow matching or EDM?)"
        if predicted not in PREDICTIONS:
            return f"its network predicts {predicted!r}; supported are {' and '.join(PREDICTIONS)}"
        if found.get("num_train_timesteps", TRAIN_STEPS) != TRAIN_STEPS:
            steps = found["num_train_timesteps"]
            return f"it was trained on {steps} time steps; supported are {TRAIN_STEPS}"
        if found.get("rescale_betas_zero_snr"):
            return "its first time step has no signal (rescale_betas_zero_snr): not supported"
        return None

    def _network(self) -> str | None:
        unet, vae = self.settings("unet"), self.settings("vae")
        if unet.get("in_channels", 4) != vae["latent_channels"]:
            channels = f"{unet['in_channels']} channels, its vae {vae['latent_channels']}"
            return f"its unet takes {channels}: inpainting and the like are not supported"
        if unet.get("addition_embed_type") != self.kind.added:
            return f"its unet wants {unet.get('addition_embed_type')!r}, not {self.kind.added!r}"
        for key in ("time_cond_proj_dim", "class_embed_type", "encoder_hid_dim_type"):
            if unet.get(key) is not None:
                return f"its unet is conditioned by {key} = {unet[key]!r}, which is not supported"
        if vae.get("latents_mean") is not None:
            return "its vae shifts latents (latents_mean), which is not supported"
        return None

    @cached_property
    def index(self) -> dict[str, Any]:
        return _json(self.path / "model_index.json")

    @property
    def kind(self) -> Kind:
        return KINDS[self.index["_class_name"]]

    @property
    def _with_parameters(self) -> tuple[str, ...]:
        return ("unet", "vae", *self.kind.text_encoders)

    def settings(self, component: str) -> dict[str, Any]:
        """The settings of one of the components."""
        name = "scheduler_config.json" if component == "scheduler" else "config.json"
        return _json(self.path / component / name)

    @property
    def side(self) -> tuple[int, int]:
        """Height and width of its images in pixels."""
        size = self.settings("unet")["sample_size"]
        height, width = (size, size) if isinstance(size, int) else size
        scale = 2 ** (len(self.settings("vae")["block_out_channels"]) - 1)
        return height * scale, width * scale

    @property
    def variant(self) -> str | None:
        """`fp16` where the network's parameters are only there in that precision."""
        return "fp16" if all(".fp16" in file.name for file in self._files("unet")) else None

    def _files(self, component: str) -> list[Path]:
        """The files with parameters that are read: in full precision if they are there."""
        files = sorted((self.path / component).glob("*.safetensors"))
        files = [file for file in files if PARAMETERS.fullmatch(file.name)]
        return [file for file in files if ".fp16" not in file.name] or files

    def configurations(self) -> tuple[Path, ...]:
        """The files that decide what its work costs."""
        return tuple(sorted(self.path.glob("*/*config.json")))

    def fingerprints(self) -> dict[str, str]:
        """Identity of the parameters of each component, and of the noise levels."""
        identity = {name: fingerprint(tuple(self._files(name))) for name in self._with_parameters}
        scheduler = self.path / "scheduler" / "scheduler_config.json"
        return identity | {"scheduler": fingerprint((scheduler,))}


def _json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content
