"""Pipelines of diffusers with the user's prompts and rewards, as a suite file states them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from benchmark import contract, registry
from benchmark.suite import SuiteError, load
from tasks.assets import pretrained
from tasks.base import Candidate, FreeMeter
from tasks.finetune.pipelines import model
from tasks.finetune.pipelines.definition import UserPipelineTask, read_prompts
from tasks.finetune.pipelines.folder import PipelineFolder
from tasks.finetune.sampling import Sampler
from tests.speed import tiny_pipeline

Stated = Callable[..., UserPipelineTask]

KINDS = {"sd1": 7.5, "sd2": 7.5, "sdxl": 5.0}
"""The tiny pipelines, and the guidance that their classes have by default."""
PROMPTS = ("a fox", "two  hares, no {braces} # here", "a house")
REWARDS = '''
import torch


def red(images, prompts):
    return images[:, 0].mean(dim=(1, 2)) - images[:, 1:].mean(dim=(1, 2, 3))


def coarse(images, prompts):
    """Not differentiable, and in numpy."""
    assert images.dtype is torch.float32 and 0 <= images.min() and images.max() <= 1
    letters = torch.tensor([len(prompt) for prompt in prompts])
    return torch.tensor(images.numpy().std(axis=(1, 2, 3)).round(2)) + letters / 100
'''
SUITE = """
seeds = 1
[[tasks]]
kind = "diffusers"
name = "diffusers/mine"
pipeline = "sd1"
prompts = "prompts.txt"
rewards = { r1 = "my_rewards:coarse", r2 = "my_rewards:red" }
steps = 2
samples = 20
evaluation_samples = 6
reference_samples = 6
budget = 0.0005
[[methods]]
name = "default"
[[methods]]
name = "bilevel"
"""


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny pipeline of each kind."""
    folder = tmp_path_factory.mktemp("pipelines")
    return {kind: tiny_pipeline.save_kind(folder, kind) for kind in KINDS}


@pytest.fixture
def folder(pipelines: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder as a user would have it; what is added is forgotten afterwards."""
    (tmp_path / "sd1").symlink_to(pipelines["sd1"])
    (tmp_path / "prompts.txt").write_text("\n".join(("", *PROMPTS, " ")))
    (tmp_path / "my_rewards.py").write_text(REWARDS)
    (tmp_path / "mine.toml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_added", {base: {} for base in registry._added})
    monkeypatch.delenv("DTB_INCEPTION", raising=False)
    return tmp_path


@pytest.fixture
def stated(folder: Path) -> Stated:
    """The task of the suite file after replacements in it."""

    def make(*changes: tuple[str, str]) -> UserPipelineTask:
        text = SUITE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (folder / "mine.toml").write_text(text)
        (entry,) = load("mine.toml").tasks
        cls = registry.task(entry.file)
        assert issubclass(cls, UserPipelineTask)
        return cls()

    return make


# -- sampling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_unguided_sampling_is_that_of_diffusers(pipelines: dict[str, Path], kind: str) -> None:
    from diffusers import DDIMScheduler, DiffusionPipeline

    theirs = DiffusionPipeline.from_pretrained(pipelines[kind], local_files_only=True)
    theirs.scheduler = DDIMScheduler.from_config(
        theirs.scheduler.config,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )
    theirs.set_progress_bar_config(disable=True)
    ours = model.load(PipelineFolder(pipelines[kind]), PROMPTS, None, 3, "cpu")
    labels = torch.tensor([0, 2, 1])
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn((3, *ours.shape), generator=generator)
    expected = theirs(
        [PROMPTS[label] for label in labels],
        num_inference_steps=25,
        eta=1.0,
        latents=noise,
        guidance_scale=KINDS[kind],
        generator=generator,
        output_type="pt",
    ).images
    sampler = Sampler(25, clip=math.inf, signal=ours.signal)
    found = ours.sample(labels, sampler, torch.Generator().manual_seed(1), None, FreeMeter())
    assert expected.std() > 0.05
    assert (expected[0] - expected[1]).abs().max() > 0.01
    torch.testing.assert_close((found.clean + 1) / 2, expected, atol=1e-5, rtol=0)


def test_files_in_half_precision_are_read_where_there_are_no_others(
    pipelines: dict[str, Path], tmp_path: Path
) -> None:
    from diffusers import DiffusionPipeline

    whole = DiffusionPipeline.from_pretrained(pipelines["sdxl"], local_files_only=True)
    whole.to(torch.float16).save_pretrained(tmp_path / "half", variant="fp16")
    half = PipelineFolder(tmp_path / "half")
    assert half.problem() is None
    assert (half.variant, PipelineFolder(pipelines["sdxl"]).variant) == ("fp16", None)
    assert "text_encoder_2" in half.fingerprints()
    loaded = model.load(half, PROMPTS, None, 3, "cpu")
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}


# -- the task -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sd2", "sdxl"])
def test_guidance_raises_r2_and_a_small_lambda_goes_further(
    stated: Stated, pipelines: dict[str, Path], kind: str
) -> None:
    task = stated(('pipeline = "sd1"', f'pipeline = "{pipelines[kind]}"'))
    assert task.unavailable() is None
    task.setup()
    lower = [task.guided({"lambda": x}, 6, seed=1).lower.mean().item() for x in (100, 3, 0.3)]
    assert lower[0] < lower[1] < lower[2] - 0.1
    assert lower[0] == pytest.approx(task.pool(6, seed=1).lower.mean().item(), abs=0.2)


def test_prompts_are_taken_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes('\ufeffein Fuchs, {0}\r\n\n  \n "%s" # \\n \u2028x\n'.encode())
    assert read_prompts(file) == ("ein Fuchs, {0}", ' "%s" # \\n \u2028x')


def test_rewards_get_images_and_their_prompts_and_are_standardised(
    stated: Stated,
) -> None:
    """`coarse` asserts the range of images; it adds 1/100 for each letter of the prompt."""
    task = stated()
    task.setup()
    assert task.prompts == PROMPTS
    assert (task.r1.guides, task.r2.guides) == (False, True)
    rewards = task.pool(6, seed=0)
    for values in (rewards.upper, rewards.lower):
        assert values.mean().item() == pytest.approx(0, abs=1e-3)
        assert values.std().item() == pytest.approx(1, abs=1e-3)
    same = task.asked(torch.zeros(3, dtype=torch.long))
    values = task.r1(torch.full((3, 3, 16, 16), 0.5), same)
    torch.testing.assert_close(values, torch.full((3,), len(PROMPTS[0]) / 100))
    found = task.evaluate(Candidate({"lambda": 10.0}), seed=2)
    assert list(found) == [metric.name for metric in task.metrics]
    mean, scale = task.reference.upper
    assert found["raw_reward"] == pytest.approx(mean + scale * found["reward"])


def test_one_lambda_per_prompt(stated: Stated) -> None:
    task = stated(("steps = 2", "steps = 2\nper_prompt = true\nguidance_scale = 1"))
    assert task.space.names == ("lambda_0", "lambda_1", "lambda_2")
    task.setup()
    assert task.model.guidance_scale == 1
    rewards = task.guided({"lambda_0": 0.1, "lambda_1": 9, "lambda_2": 9}, 4, 0)
    assert rewards.group is not None
    assert rewards.group.tolist() == [0, 1, 2, 0]


def test_another_reward_or_prompt_is_another_evaluator(stated: Stated, folder: Path) -> None:
    found = []
    for file, old, new in (
        ("my_rewards.py", "# nothing", "# nothing"),
        ("my_rewards.py", "round(2)", "round(3)"),
        ("prompts.txt", "a house", "a home"),
    ):
        (folder / file).write_text((folder / file).read_text().replace(old, new))
        task = stated()
        task.setup()
        found.append(json.dumps(task.evaluator()))
    assert len(set(found)) == 3


def test_the_clip_score_is_a_reward(
    stated: Stated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = ("my_rewards:coarse", "tasks.finetune.pipelines.clip:score")
    monkeypatch.setenv("DTB_CLIP", str(tmp_path / "nowhere"))
    assert "DTB_CLIP" in (stated(clip).unavailable() or "")
    monkeypatch.setenv("DTB_CLIP", tiny_pipeline.save(tmp_path / "parts")["DTB_CLIP"])
    task = stated(clip)
    assert task.unavailable() is None
    task.setup()
    assert task.r1.guides


@pytest.mark.slow
def test_the_contract_holds(stated: Stated) -> None:
    stated()
    (entry,) = load("mine.toml").tasks
    assert not [found for found in contract.check(entry.file) if found[1]]


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"prompts.txt"', '"lost.txt"', "prompts: .*lost.txt: No such file"),
        ('"prompts.txt"', '"empty.txt"', "empty.txt has no line with a prompt"),
        ('"prompts.txt"', '"binary.txt"', "binary.txt: not a text in UTF-8"),
        ("r1 = ", "r3 = ", r"rewards must be \{ r1 = 'module:function', r2 = "),
        (
            '"my_rewards:red"',
            '"my_rewards.py"',
            "r2 must be 'module:function', got 'my_rewards.py'",
        ),
        ('"my_rewards:red"', "2", "r2 must be 'module:function', got 2"),
        ('pipeline = "sd1"', "", "needs a pipeline"),
        ("steps = 2", "step = 2", "unknown key 'step'; did you mean 'steps'?"),
        ("steps = 2", "steps = 0", "steps must be a whole number of at least 1, got 0"),
        ("steps = 2", "guidance_scale = 0", "guidance_scale must be 1 .none. or more, got 0"),
        ("steps = 2", "per_prompt = 3", "per_prompt must be true or false, got 3"),
        ("samples = 20", "samples = 2", "samples must be at least two, and one for each of 3"),
        ("budget = 0.0005", "budget = -1", "budget must be a positive number, got -1"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(
    folder: Path, old: str, new: str, message: str
) -> None:
    (folder / "empty.txt").write_text("\n \n")
    (folder / "binary.txt").write_bytes(b"\xff\xfe\x00")
    assert old in SUITE
    (folder / "mine.toml").write_text(SUITE.replace(old, new))
    with pytest.raises(SuiteError, match=message) as caught:
        load("mine.toml")
    assert str(caught.value).startswith("mine.toml: task 'diffusers/mine': ")
    assert "\n" not in str(caught.value)


def edited(file: str, **changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        found = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(found | changes))

    return edit


SCHEDULER = "scheduler/scheduler_config.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "pipeline 'other' is no folder in .*; to fetch one: hf download other"),
        (
            lambda at: (at / "model_index.json").unlink(),
            "other: no pipeline, .*no model_index.json",
        ),
        (
            edited("model_index.json", _class_name="FluxPipeline"),
            "other: a FluxPipeline; supported",
        ),
        (
            edited("model_index.json", unet=["mine", "Unet"]),
            "its unet is Unet, which is no class of",
        ),
        (
            edited("model_index.json", vae=["diffusers", "AutoencoderTiny"]),
            "vae is a AutoencoderTiny",
        ),
        (lambda at: (at / "model_index.json").write_text("{"), "its settings cannot be read"),
        (edited(SCHEDULER, prediction_type="sample"), "its network predicts 'sample'; supported"),
        (edited(SCHEDULER, num_train_timesteps=50), "trained on 50 time steps; supported are 1000"),
        (edited(SCHEDULER, rescale_betas_zero_snr=True), "its first time step has no signal"),
        (
            lambda at: (at / SCHEDULER).write_text("{}"),
            "its scheduler has no noise levels of a diff",
        ),
        (edited("unet/config.json", in_channels=9), "its unet takes 9 channels, its vae 4"),
        (edited("unet/config.json", addition_embed_type="text_time"), "its unet wants 'text_time'"),
        (edited("unet/config.json", time_cond_proj_dim=8), "conditioned by time_cond_proj_dim = 8"),
        (edited("vae/config.json", latents_mean=[0]), "its vae shifts latents"),
        (
            lambda at: next((at / "unet").glob("*.safetensors")).rename(at / "unet/model.bin"),
            "unet has no parameters as safetensors",
        ),
        (lambda at: shutil.rmtree(at / "tokenizer"), "text_encoder has no tokenizer"),
    ],
)
def test_a_pipeline_that_cannot_be_tuned_is_refused_in_one_line(
    stated: Stated,
    folder: Path,
    change: Callable[[Path], Any],
    message: str,
) -> None:
    shutil.copytree(folder / "sd1", folder / "other")
    change(folder / "other")
    task = stated(('pipeline = "sd1"', 'pipeline = "other"'))
    reason = task.unavailable() or ""
    assert pytest.approx(0) == reason.count("\n")
    with pytest.raises(ValueError, match=message):
        raise ValueError(reason)
    with pytest.raises(ValueError, match=message):
        task.setup()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nothing_of_that_name", "r2 = 'my_rewards:red': ModuleNotFoundError: No module"),
        ("raise SystemExit('no key')", "r2 = 'my_rewards:red': SystemExit: no key"),
        ("def green(images, prompts): pass", "there is no function 'red' in .*my_rewards.py"),
        ("def red(images): pass", "TypeError: red.. takes 1 positional argument"),
        ("def red(images, prompts): return 1.0", "'my_rewards:red' gave a float, not a tensor"),
        (
            "def red(images, prompts): return images.mean(dim=(2, 3))",
            r"'my_rewards:red' gave a tensor \(2, 3\) for 2 images, not \(2,\)",
        ),
        (
            "def red(images, prompts): return images.sum(dim=(1, 2, 3)) - float('inf')",
            r"red' gave \[-inf, -inf\] for random images: not finite",
        ),
        (
            "def red(images, prompts): return (images > 0.5).float().mean(dim=(1, 2, 3))",
            "red' has no gradient in the images; guidance follows that of r2, r1 needs none",
        ),
        (
            "def red(images, prompts): return (images.sum(dim=(1, 2, 3)) * 0).sqrt()",
            "red' has a gradient that is not finite",
        ),
        (
            "def red(images, prompts): return images.round().mean(dim=(1, 2, 3))",
            "red' has a gradient of zero in random images, which guidance cannot follow",
        ),
    ],
)
def test_a_reward_that_cannot_be_used_is_refused_in_one_line(
    stated: Stated, folder: Path, code: str, message: str
) -> None:
    (folder / "other_rewards.py").write_text(REWARDS)
    (folder / "my_rewards.py").write_text(f"import torch\n{code}\n")
    reason = stated(("my_rewards:coarse", "other_rewards:coarse")).unavailable() or ""
    assert "\n" not in reason
    with pytest.raises(ValueError, match=message):
        raise ValueError(reason)


def test_a_reward_that_is_nowhere_is_named(stated: Stated) -> None:
    reason = stated(("my_rewards:coarse", "no_such.module:coarse")).unavailable() or ""
    assert "r1 = 'no_such.module:coarse': no no_such.module.py in " in reason


def test_a_reward_that_is_the_same_for_all_images_has_no_unit(stated: Stated, folder: Path) -> None:
    with (folder / "my_rewards.py").open("a") as file:
        file.write(
            "\n\ndef flat(images, prompts):\n    return images.mean(dim=(1, 2, 3)) * 0 + 3\n"
        )
    with pytest.raises(ValueError, match="r2 is 3 for all of 6 unguided images"):
        stated(("my_rewards:red", "my_rewards:flat")).setup()


def test_without_transformers_it_names_the_extra(
    stated: Stated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    assert "pip install -c constraints.txt '.[paper]'" in (stated().unavailable() or "")


def test_damaged_parameters_are_named(stated: Stated, folder: Path) -> None:
    shutil.copytree(folder / "sd1", folder / "other")
    file = folder / "other/vae/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="other cannot be loaded as a pipeline") as caught:
        stated(('pipeline = "sd1"', 'pipeline = "other"')).setup()
    assert "\n" not in str(caught.value)
