"""A task of kind `diffusers` as a suite file states it.

[[tasks]]
kind = "diffusers"
name = "diffusers/mine"
pipeline = "my-pipeline"      # a folder, or a repository in the local Hugging Face cache
prompts = "prompts.txt"       # a prompt per line, taken as it is
rewards = { r1 = "my_rewards:contrast", r2 = "my_rewards:red" }    # module:function
budget = 2.0                  # GPU-hours of one run
per_prompt = true             # one lambda per prompt; one for all if left out
guidance_scale = 7.5          # towards the prompt; that of the pipeline's class if left out
steps = 25                    # denoising steps; 25 if left out
batch = 5                     # images at a time; 5 if left out
samples = 100                 # images in a trial; 100 if left out
evaluation_samples = 250      # images that metrics are reported of; 250 if left out
reference_samples = 500       # unguided images that give rewards their unit; 500 if left out

Paths begin at the folder of the suite file. The contract of a reward is that of
`tasks.finetune.pipelines.rewards`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from tasks import tables
from tasks.assets.pretrained import cached, lacking_library, loading
from tasks.finetune.base import STRENGTH, per_group
from tasks.finetune.pipelines import model
from tasks.finetune.pipelines.folder import PipelineFolder
from tasks.finetune.pipelines.rewards import StatedReward, probes
from tasks.finetune.pipelines.task import PipelineTask
from tasks.space import Space

REQUIRED = ("name", "pipeline", "prompts", "rewards", "budget")
PATH = re.compile(r"\w+(\.\w+)*:\w+")
COUNTS = ("steps", "batch", "samples", "evaluation_samples", "reference_samples")
OPTIONAL = ("description", "per_prompt", "guidance_scale", *COUNTS)


class UserPipelineTask(PipelineTask):
    """Fine-tuning of the user's pipeline; `define` makes the classes."""

    pipeline: ClassVar[str]
    """As it was stated."""
    where: ClassVar[Path]
    """Folder of the suite file, at which paths begin."""
    guidance_scale: ClassVar[float | None]
    rewards: ClassVar[tuple[StatedReward, StatedReward]]

    @classmethod
    def unavailable(cls) -> str | None:
        """Tries the rewards on two random images, so that a bad one is named before anything is
        spent."""
        if lacking := lacking_library():
            return lacking
        folder = located(cls.pipeline, cls.where)
        if folder is None:
            return (
                f"pipeline {cls.pipeline!r} is no folder in {cls.where}, and no repository in the "
                f"local Hugging Face cache; to fetch one: hf download {cls.pipeline}"
            )
        if problem := folder.problem():
            return problem
        reasons = (reward.problem(cls.prompts, folder.side) for reward in cls.rewards)
        return next(filter(None, reasons), None)

    def load(self) -> None:
        folder = located(self.pipeline, self.where)
        if folder is None:
            raise ValueError(self.unavailable())
        with loading(f"{folder.path} cannot be loaded as a pipeline"):
            self.model = model.load(
                folder, self.prompts, self.guidance_scale, self.batch, self.device
            )
        upper, self.r2 = (reward.load() for reward in self.rewards)
        tried = probes(self.prompts, folder.side, self.device)
        self.r1 = replace(upper, guides=upper.has_gradient(*tried))

    def weights(self) -> dict[str, str]:
        folder = located(self.pipeline, self.where)
        assert folder is not None
        rewards = {reward.role: reward.identity for reward in self.rewards}
        return folder.fingerprints() | rewards


def define(table: Mapping[str, Any], folder: Path) -> type[UserPipelineTask]:
    """The task that a table of a suite file in `folder` states. Raises ValueError, in one line."""
    tables.keys(table, REQUIRED, OPTIONAL)
    tables.texts(table, ("name", "pipeline", "prompts", "description"))
    tables.positive(table, ("budget",))
    prompts = read_prompts(folder / Path(table["prompts"]).expanduser())
    counts = {key: tables.whole(key, table[key], 1) for key in COUNTS if key in table}
    for key in COUNTS[2:]:
        count = counts.get(key, getattr(PipelineTask, key))
        if count < max(len(prompts), 2):
            least = f"two, and one for each of {len(prompts)} prompts"
            raise ValueError(f"{key} must be at least {least}, got {count}")
    scale, per_prompt = table.get("guidance_scale"), table.get("per_prompt", False)
    if scale is not None and not (tables.is_number(scale) and scale >= 1):
        raise ValueError(f"guidance_scale must be 1 (none) or more, got {scale!r}")
    if not isinstance(per_prompt, bool):
        raise ValueError(f"per_prompt must be true or false, got {per_prompt!r}")
    rewards = _rewards(table["rewards"], folder)
    found = located(table["pipeline"], folder)
    attributes = {
        "name": table["name"],
        "description": table.get("description", f"Entropy strength of guided {table['pipeline']}"),
        "space": per_group(len(prompts)) if per_prompt else Space((STRENGTH,)),
        "budget": table["budget"],
        "pipeline": table["pipeline"],
        "where": folder,
        "prompts": prompts,
        "groups": len(prompts),
        "rewards": rewards,
        "guidance_scale": scale,
        "files": (
            *(file for reward in rewards if (file := reward.file)),
            *(found.configurations() if found else ()),
        ),
    }
    return type("UserPipeline", (UserPipelineTask,), {"__module__": __name__} | attributes | counts)


def located(pipeline: str, where: Path) -> PipelineFolder | None:
    """Where a pipeline lies that a suite file in `where` names, or None."""
    stated = where / Path(pipeline).expanduser()
    found = stated if stated.exists() else cached(pipeline)
    return PipelineFolder(found) if found else None


def read_prompts(file: Path) -> tuple[str, ...]:
    """The lines of a text file but the empty ones. Raises ValueError."""
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text in UTF-8"
        raise ValueError(f"prompts: {file}: {reason}") from None
    prompts = tuple(line.removesuffix("\r") for line in lines if line.strip())
    if not prompts:
        raise ValueError(f"prompts: {file} has no line with a prompt")
    return prompts


def _rewards(table: Any, folder: Path) -> tuple[StatedReward, StatedReward]:
    if not isinstance(table, dict) or set(table) != {"r1", "r2"}:
        raise ValueError(f"rewards must be {{ r1 = 'module:function', r2 = ... }}, got {table!r}")
    for role, path in table.items():
        if not isinstance(path, str) or not PATH.fullmatch(path):
            raise ValueError(f"{role} must be 'module:function', got {path!r}")
    return StatedReward("r1", table["r1"], folder), StatedReward("r2", table["r2"], folder)
