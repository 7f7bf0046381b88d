"""Stable Diffusion on a tiny pipeline that is saved and loaded as a real one would be."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from host_syncs import host_syncs, sync_is_an_error
from ledger import Ledger
from tiny_files import write_inception

from benchmark import catalogue, cli, contract
from benchmark.runs import runner
from tasks.assets import inception, pretrained
from tasks.assets.asset import digest
from tasks.base import Candidate, FreeMeter
from tasks.finetune.pipelines import model as pipelines
from tasks.finetune.pipelines.clip import ClipScore
from tasks.finetune.pipelines.folder import PipelineFolder
from tasks.finetune.pipelines.task import CLIP_AT, REFERENCE_SEED
from tasks.finetune.sd15 import assets
from tasks.finetune.sd15.random_head import RandomHead
from tasks.finetune.sd15.task import (
    GUIDANCE_SCALE,
    PROMPTS,
    FinetuneStableDiffusion,
    FinetuneStableDiffusionPerPrompt,
)
from tasks.metrics.inception import InceptionFeatures
from tests.speed import tiny_pipeline

SMALL = {"samples": 50, "evaluation_samples": 10, "reference_samples": 10, "steps": 3}
VARIABLES = ("DTB_SD15", "DTB_CLIP", "DTB_RESNET18", "DTB_INCEPTION")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables that name the parts of a tiny pipeline."""
    return tiny_pipeline.save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def installed(tiny: dict[str, str]) -> Iterator[None]:
    """The tiny pipeline stands for Stable Diffusion, and trials are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DTB_INCEPTION", raising=False)
        for name, value in tiny.items():
            patch.setenv(name, value)
        for name, number in SMALL.items():
            patch.setattr(FinetuneStableDiffusion, name, number)
        yield


@pytest.fixture(scope="module")
def task(installed: None) -> FinetuneStableDiffusion:
    made = FinetuneStableDiffusion()
    made.setup()
    return made


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with no weights."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


# -- where the weights come from --------------------------------------------------------------


def test_without_weights_it_says_what_to_fetch_and_where_to_put_it(nothing: None) -> None:
    reason = FinetuneStableDiffusion.unavailable()
    assert reason is not None
    assert "\n" not in reason
    for word in (
        "hf download stable-diffusion-v1-5/stable-diffusion-v1-5",
        "hf download openai/clip-vit-base-patch16",
        "resnet18-f37072fd.pth",
        "DTB_SD15",
        "DTB_CLIP",
        "DTB_RESNET18",
    ):
        assert word in reason
    rows = {row["name"]: row["available"] for row in catalogue.tasks()}
    assert rows["finetune/sd15"] == rows["finetune/sd15-perprompt"] == reason
    with pytest.raises(FileNotFoundError, match="hf download"):
        FinetuneStableDiffusion().setup()


def test_run_gives_the_reason_in_one_line(nothing: None) -> None:
    from typer.testing import CliRunner

    arguments = ["run", "--task", "finetune/sd15", "--method", "random", "--workers", "0"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 2
    errors = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "finetune/sd15 cannot run here: Stable Diffusion 1.5: run `hf download" in errors[0]


def test_what_is_set_and_wrong_is_named(
    nothing: None, tiny: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in tiny.items():
        monkeypatch.setenv(name, value)
    assert FinetuneStableDiffusion.unavailable() is None
    monkeypatch.setenv("DTB_SD15", "nobody/nothing")
    monkeypatch.setenv("DTB_CLIP", str(tmp_path))
    monkeypatch.setenv("DTB_INCEPTION", str(tmp_path / "lost.pt"))
    reason = FinetuneStableDiffusion.unavailable() or ""
    assert "DTB_SD15=nobody/nothing: no such path or cached repository" in reason
    assert f"DTB_CLIP={tmp_path}: config.json is missing there" in reason
    assert "lost.pt: no such file" in reason
    assert "DTB_RESNET18" not in reason


def test_a_repository_in_the_local_cache_is_found(
    nothing: None, tiny: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository = tmp_path / "models--openai--clip-vit-base-patch16"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / "abc").symlink_to(tiny["DTB_CLIP"])
    assert assets.CLIP.path() == repository / "snapshots" / "abc"
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resnet18-f37072fd.pth").symlink_to(tiny["DTB_RESNET18"])
    assert assets.RESNET.missing() is None


def test_looking_for_weights_loads_neither_torch_nor_models() -> None:
    code = (
        "import sys; from tasks.finetune.sd15 import assets; "
        "assets.unavailable(); assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_transformers_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    assert "[paper]" in (FinetuneStableDiffusion.unavailable() or "")


def test_a_file_that_is_not_a_resnet_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="ResNet-18"):
        RandomHead(tmp_path / "other.pth")


# -- sampling -----------------------------------------------------------------------------------


def test_unguided_sampling_is_that_of_diffusers(
    task: FinetuneStableDiffusion, tiny: dict[str, str]
) -> None:
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        tiny["DTB_SD15"], safety_checker=None, requires_safety_checker=False, local_files_only=True
    )
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )
    pipeline.set_progress_bar_config(disable=True)
    labels = torch.tensor([0, 3, 4])
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn((3, *task.model.shape), generator=generator)
    theirs = pipeline(
        [PROMPTS[label] for label in labels],
        num_inference_steps=25,
        eta=1.0,
        latents=noise,
        guidance_scale=GUIDANCE_SCALE,
        generator=generator,
        output_type="pt",
    ).images
    ours = task.model.sample(
        labels, replace(task.sampler, steps=25), torch.Generator().manual_seed(1), None, FreeMeter()
    )
    assert theirs.std() > 0.05
    torch.testing.assert_close((ours.clean + 1) / 2, theirs, atol=1e-5, rtol=0)


def test_the_clip_value_does_not_touch_unguided_samples(task: FinetuneStableDiffusion) -> None:
    labels = torch.arange(5)
    images = [
        task.model.sample(
            labels,
            replace(task.sampler, clip=clip),
            torch.Generator().manual_seed(2),
            None,
            FreeMeter(),
        ).clean
        for clip in (CLIP_AT, math.inf)
    ]
    assert torch.equal(*images)


def test_guidance_raises_the_lower_reward_and_a_small_lambda_goes_further(
    task: FinetuneStableDiffusion,
) -> None:
    unguided = task.pool(10, seed=1).lower.mean().item()
    lower = [task.guided({"lambda": x}, 10, seed=1).lower.mean().item() for x in (100, 3, 0.3)]
    assert unguided < lower[1] - 0.1
    assert lower[0] < lower[1] < lower[2] - 0.1
    assert lower[0] == pytest.approx(unguided, abs=0.2)


def test_gradient_of_the_tilt_is_that_of_finite_differences(
    task: FinetuneStableDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, head = deepcopy(task.model).double(), deepcopy(task.r2).double()
    model.recompute = True
    monkeypatch.setattr(task, "r2", head)
    labels = torch.tensor([1, 4])
    condition = model.condition(labels)
    step = task.sampler.steps_taken()[1]

    def tilt(images: torch.Tensor) -> torch.Tensor:
        return task.lower(images, labels) / 0.5

    def at(x: torch.Tensor) -> Any:
        return task.sampler.predict(
            lambda x, time: model.predict(x, time, condition),
            x,
            step,
            lambda clean: tilt(model.decode(clean)),
        )

    generator = torch.Generator().manual_seed(3)
    x = torch.randn((2, *model.shape), generator=generator, dtype=torch.float64)
    gradient = at(x).gradient
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    small = 1e-5
    difference = (at(x + small * direction).tilt - at(x - small * direction).tilt) / (2 * small)
    expected = (gradient * direction).flatten(1).sum(dim=1)
    torch.testing.assert_close(expected, difference, rtol=1e-4, atol=1e-7)


def test_decoding_one_by_one_again_gives_the_same_gradient(
    task: FinetuneStableDiffusion,
) -> None:
    latents = torch.randn((3, *task.model.shape), generator=torch.Generator().manual_seed(4))
    gradients = []
    for recompute in (False, True):
        model = deepcopy(task.model)
        model.recompute = recompute
        leaf = latents.clone().requires_grad_()
        tilt = task.lower(model.decode(leaf), torch.arange(3)).sum()
        gradients.append(torch.autograd.grad(tilt, leaf)[0])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("memory", "recompute"), [(1e5, True), (1e12, False)])
def test_a_small_device_decodes_again_instead_of_keeping_the_graph(
    installed: None, monkeypatch: pytest.MonkeyPatch, memory: float, recompute: bool
) -> None:
    monkeypatch.setattr(pipelines, "_memory", lambda device: memory)
    folder = PipelineFolder(assets.find().pipeline)
    made = pipelines.load.__wrapped__(folder, PROMPTS, GUIDANCE_SCALE, 5, "cpu")
    assert made.recompute == recompute


def test_a_network_that_predicts_images_is_refused(
    installed: None, tiny: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(tiny["DTB_SD15"], folder)
    file = folder / "scheduler" / "scheduler_config.json"
    settings = json.loads(file.read_text()) | {"prediction_type": "sample"}
    file.write_text(json.dumps(settings))
    monkeypatch.setenv("DTB_SD15", str(folder))
    with pytest.raises(ValueError, match="its network predicts 'sample'"):
        FinetuneStableDiffusion().setup()


def test_nothing_learns(task: FinetuneStableDiffusion) -> None:
    parts = (task.model.network, task.model.decoder, task.r1, task.r2)
    for module in parts:
        assert not any(parameter.requires_grad for parameter in module.parameters())
        assert not any(child.training for child in module.modules())


# -- rewards ------------------------------------------------------------------------------------


def test_images_are_prepared_as_the_processor_does(tiny: dict[str, str]) -> None:
    """Within 1.5 of 255 grey levels where nothing overshoots: the processor rounds to 8 bits
    after each of two passes, and cuts what overshoots after the first."""
    from transformers import CLIPProcessor

    score = ClipScore(Path(tiny["DTB_CLIP"]))
    processor: Any = CLIPProcessor.from_pretrained(tiny["DTB_CLIP"], local_files_only=True)
    generator = torch.Generator().manual_seed(0)
    for height, width in ((32, 32), (64, 48), (24, 40), (20, 20)):
        for low, high in ((70, 186), (0, 256)):
            pixels = torch.randint(low, high, (2, 3, height, width), generator=generator)
            pixels = pixels.to(torch.uint8)
            theirs = processor.image_processor(list(pixels), return_tensors="pt")["pixel_values"]
            levels = (score.prepare(pixels / 255) - theirs).abs() * score.scale * 255
            assert levels.mean() < 0.6, (height, width, low)
            assert levels.max() < (1.5 if low else 20), (height, width, low)


def test_clip_score_is_that_of_the_model(tiny: dict[str, str]) -> None:
    from transformers import CLIPModel, CLIPProcessor

    score = ClipScore(Path(tiny["DTB_CLIP"]))
    model = CLIPModel.from_pretrained(tiny["DTB_CLIP"], local_files_only=True)
    processor: Any = CLIPProcessor.from_pretrained(tiny["DTB_CLIP"], local_files_only=True)
    pixels = torch.full((2, 3, 32, 32), 90, dtype=torch.uint8)
    pixels[0, 1, :16] = 200
    pixels[1, 2, :, :16] = 10
    inputs = processor(
        text=[PROMPTS[3], PROMPTS[0]], images=list(pixels), return_tensors="pt", padding=True
    )
    with torch.no_grad():
        logits = model(**inputs).logits_per_image / model.logit_scale.exp() * 100
        ours = score(pixels / 255, [PROMPTS[3], PROMPTS[0]])
    torch.testing.assert_close(ours, logits.diagonal(), atol=0.2, rtol=0)


def test_clip_is_read_in_the_layout_it_was_published_in(
    tiny: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings of the processor in a file of their own with plain numbers for sizes, vocabulary
    and merges, and weights that torch saved."""
    from safetensors.torch import load_file

    new, old = Path(tiny["DTB_CLIP"]), tmp_path / "clip"
    old.mkdir()
    torch.save(load_file(new / "model.safetensors"), old / "pytorch_model.bin")
    shutil.copy(new / "config.json", old)
    tokenizer = new.parent / "tokenizer"
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, old)
    settings = json.loads((new / "processor_config.json").read_text())["image_processor"]
    settings |= {"size": 12, "crop_size": 12, "feature_extractor_type": "CLIPFeatureExtractor"}
    (old / "preprocessor_config.json").write_text(
        json.dumps({k: v for k, v in settings.items() if k != "image_processor_type"})
    )
    monkeypatch.setenv("DTB_CLIP", str(old))
    assert assets.CLIP.path() == old
    images = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(ClipScore(old)(images, PROMPTS), ClipScore(new)(images, PROMPTS))


def test_rewards_are_differentiable_in_the_image(task: FinetuneStableDiffusion) -> None:
    images = (0.5 * torch.randn(5, 3, 16, 16)).clamp(-1, 1).requires_grad_()
    labels = torch.arange(5)
    for reward in (task.upper, task.lower):
        (gradient,) = torch.autograd.grad(reward(images, labels).sum(), images)
        assert gradient.abs().sum(dim=(1, 2, 3)).min() > 0


def test_large_images_are_reduced_for_the_random_head(task: FinetuneStableDiffusion) -> None:
    seen: list[torch.Size] = []
    hook = task.r2.network.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].shape)
    )
    grey = torch.tensor([0.55, 0.3, 0.85])[None, :, None, None]
    try:
        values = [task.r2(grey.expand(1, 3, side, side), PROMPTS[:1]) for side in (512, 224, 64)]
    finally:
        hook.remove()
    assert [shape[-1] for shape in seen] == [224, 224, 64]
    torch.testing.assert_close(values[0], values[1], atol=1e-3, rtol=1e-3)


def a_guided_trial(task: FinetuneStableDiffusion) -> Callable[[], Any]:
    labels, generator = torch.arange(2, device=task.device), task.generator(0)
    return lambda: task.generate(
        labels, task.sampler, generator, lambda x: task.lower(x, labels) / 2
    )


def test_a_guided_step_never_makes_the_host_wait(task: FinetuneStableDiffusion) -> None:
    work = a_guided_trial(task)
    work()
    assert host_syncs(work) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_guided_step_never_makes_the_host_wait_on_cuda(installed: None) -> None:
    task = FinetuneStableDiffusion("cuda")
    task.setup()
    work = a_guided_trial(task)
    work()
    with sync_is_an_error():
        work()


def test_rewards_are_standardised_on_unguided_samples(task: FinetuneStableDiffusion) -> None:
    rewards = task.pool(FinetuneStableDiffusion.reference_samples, REFERENCE_SEED)
    for values in (rewards.upper, rewards.lower):
        assert values.mean().item() == pytest.approx(0, abs=1e-3)
        assert values.std().item() == pytest.approx(1, abs=1e-3)
    assert rewards.group is not None
    assert rewards.group.bincount().tolist() == [2] * 5


# -- the task -----------------------------------------------------------------------------------


def test_metrics_images_and_identity(task: FinetuneStableDiffusion) -> None:
    values = task.evaluate(Candidate({"lambda": 3.0}), seed=2)
    assert list(values) == [metric.name for metric in task.metrics]
    assert -100 <= values["clip"] <= 100
    assert values["path_kl"] > 0
    images = task.images(Candidate({"lambda": 3.0}), 6, seed=2)
    assert images.shape == (6, 16, 16, 3)
    assert images.dtype == np.uint8
    identity = task.evaluator()
    assert identity["fid"] == "not measured: no DTB_INCEPTION"
    assert set(identity["weights"]) == set(VARIABLES[:3])
    assert identity["precision"] == "float32"


def test_every_primitive_is_charged(task: FinetuneStableDiffusion) -> None:
    task.meter = ledger = Ledger()
    try:
        task.pool(7, seed=0)
        task.guided({"lambda": 3.0}, 7, seed=0)
    finally:
        task.meter = FreeMeter()
    totals = {name: ledger.total(name) for name, _, _ in ledger.charges}
    assert totals == {"denoise": 21, "guided_denoise": 21, "decode": 14, "reward": 14}
    assert max(count for _, count, _ in ledger.charges) == task.batch
    assert sum(work.get("nfe", 0) for _, _, work in ledger.charges) == 42


def test_one_strength_per_prompt(task: FinetuneStableDiffusion) -> None:
    own = FinetuneStableDiffusionPerPrompt()
    own.setup()
    params = {f"lambda_{k}": 0.3 if k == 2 else 100.0 for k in range(5)}
    rewards, shared = own.guided(params, 10, seed=5), task.guided({"lambda": 100.0}, 10, seed=5)
    moved = (rewards.lower - shared.lower).abs().view(2, 5).amin(dim=0)
    assert moved.argmax() == 2
    same = rewards.group != 2
    torch.testing.assert_close(rewards.lower[same], shared.lower[same], atol=0.02, rtol=0)


def test_extreme_guidance_stays_finite(task: FinetuneStableDiffusion) -> None:
    rewards = task.guided({"lambda": 0.01}, 5, seed=3)
    assert torch.isfinite(rewards.upper).all()
    assert torch.isfinite(rewards.lower).all()


@pytest.mark.slow
def test_contract(installed: None) -> None:
    broken = [
        f"{title}: {problem}"
        for title, problem in contract.check("finetune/sd15")
        if problem is not None
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bilevel", "random"])
def test_methods_run_through_the_harness(
    installed: None, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("samples", "evaluation_samples"):
        monkeypatch.setattr(FinetuneStableDiffusion, name, 5)
    prices = {"denoise": 1.0, "guided_denoise": 5.0, "decode": 2.0, "reward": 1.0, "trial": 1.0}
    spec = runner.RunSpec(
        suite="test",
        task="finetune/sd15",
        label=method,
        method=method,
        seed=0,
        budget=360 / 3600,
        results=str(tmp_path),
        clock="priced",
        prices=prices,
        options={"finetune": {"batch": 10}} if method == "bilevel" else {},
    )
    outcome = runner.execute(spec)
    assert outcome.status == "finished", outcome.reason
    metrics = [event["metrics"] for event in spec.folder.events() if event.get("metrics")]
    assert metrics
    assert all(math.isfinite(value) for value in metrics[-1].values())


# -- Inception ----------------------------------------------------------------------------------


@pytest.fixture
def inception_file(tmp_path: Path) -> Path:
    return write_inception(tmp_path)


def test_a_truncated_inception_file_is_refused(inception_file: Path) -> None:
    with pytest.raises(ValueError, match=r"is not inception-2015-12-05\.pt"):
        InceptionFeatures(inception_file)


def test_features_are_those_of_clean_fid(
    inception_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "SHA256", digest(inception_file, "sha256"))
    ours = InceptionFeatures(inception_file)
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.resize import build_resizer

    pixels = torch.randint(256, (2, 3, 40, 50), dtype=torch.uint8)
    resized = [build_resizer("clean")(image.permute(1, 2, 0).numpy()) for image in pixels]
    batch = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)
    theirs = InceptionV3W(str(inception_file.parent), download=False)(batch)
    torch.testing.assert_close(ours(pixels / 127.5 - 1), theirs)


def test_class_scores_leave_out_the_bias(
    inception_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "SHA256", digest(inception_file, "sha256"))
    ours = InceptionFeatures(inception_file)
    features = torch.rand(3, 2048)
    output = ours.network.output
    torch.testing.assert_close(ours.logits(features), output(features) - output.bias)


def test_fid_is_measured_where_the_weights_are(
    installed: None, inception_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "SHA256", digest(inception_file, "sha256"))
    monkeypatch.setenv("DTB_INCEPTION", str(inception_file))
    task = FinetuneStableDiffusion()
    task.setup()
    assert task.metrics[-1].name == "fid"
    assert "fid" not in {metric.name for metric in FinetuneStableDiffusion.metrics}
    near, far = (task.evaluate(Candidate({"lambda": x}), seed=1) for x in (100.0, 0.03))
    assert list(near) == [metric.name for metric in task.metrics]
    assert math.isfinite(near["fid"])
    assert near["fid"] >= 0
    assert far["fid"] != near["fid"]
    assert "clean-fid" in task.evaluator()["fid"]
    assert "DTB_INCEPTION" in task.evaluator()["weights"]
