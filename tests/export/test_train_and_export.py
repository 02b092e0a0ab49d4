"""`train-and-export` from end to end, with the mistakes that users make."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.engine.shipped import SHIPPED
from goodparts.runtime.engine.spec import read_spec
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.trainer.anople.learner import AnoPLeLearner
from goodparts.trainer.promptad.learner import PromptLearner
from PIL import Image

from goodparts.cli import main, train_and_export
from tests.conftest import VIT, draw_part

OF_VIT = "--backbone", VIT, "--pretrained", "random"


class Command:
    """Runs `train-and-export` with three steps of learning."""

    def __init__(self, engine: Path, photos: Path, out: Path, backbone: Sequence[str] = ()) -> None:
        self.out = out
        self._engine, self._photos, self._backbone = engine, photos, backbone

    def __call__(self, *more: str, images: Path | None = None, out: Path | None = None) -> int:
        options = {"--images": images or self._photos / "good", "--engine": self._engine, "--out": out or self.out}
        fixed = [*self._backbone, "--product", "ring", "--steps", "3"]
        return train_and_export([*fixed, *(str(part) for pair in options.items() for part in pair), *more])


@pytest.fixture
def command(engine_folder: Path, photos: Path, tmp_path: Path) -> Command:
    return Command(engine_folder, photos, tmp_path / "ring.safetensors")


def test_two_commands_from_photos_to_verdicts(
    command: Command, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = tmp_path / "engine"
    assert command("--engine", str(engine), "--margin", "none") == 0
    assert Recipe.open(command.out).header.settings["margin"] is None
    assert main(["inspect", "--engine", str(engine), "--recipe", str(command.out), str(photos)]) == 0
    output = capsys.readouterr().out
    assert "4 inspected" in output
    assert "ring.safetensors: recipe for 'ring', learned from " in output
    assert re.search(r"A patch covers \d+×\d+ pixels of \S+. For much smaller defects give --tiles", output)


def test_anople_from_photos_to_verdicts(
    prompted_folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(prompted_folder, photos, tmp_path / "ring.safetensors", OF_VIT)
    assert command("--method", "anople", "--batch", "2", "--temperature", "15", "--no-photo-tiles") == 0
    header = Recipe.open(command.out).header
    assert (header.method, header.temperature) == ("anople", 15.0)
    assert (header.settings["steps"], header.settings["batch"], header.settings["tiles"]) == (3, 2, False)
    assert main(["inspect", "--engine", str(prompted_folder), "--recipe", str(command.out), str(photos)]) == 0
    assert "4 inspected" in capsys.readouterr().out
    assert main(["show", str(prompted_folder), str(command.out)]) == 0
    output = capsys.readouterr().out
    assert "prompted graph, for AnoPLe recipes" in output
    assert "learned by anople (clean protocol, seed 0)" in output
    assert ", its prompted graph" in output


def test_a_killed_command_goes_on_and_writes_the_same_recipes_for_all_products(
    prompted_folder: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    products, kept = tmp_path / "products.toml", tmp_path / "kept"
    good = (photos / "good").as_posix()
    products.write_text(f"[ring]\nimages = '{good}'\n[other]\nimages = ['{good}']\nproduct = 'nut'\nshots = 2\n")
    options = [*OF_VIT, "--engine", prompted_folder, "--products", products, "--method", "anople"]
    options += ["--steps", "3", "--batch", "2", "--textures", good]

    def run(folder: str, *more: object) -> int:
        (tmp_path / folder).mkdir(exist_ok=True)
        return train_and_export([str(option) for option in (*options, "--out", tmp_path / folder, *more)])

    monkeypatch.setattr("goodparts.trainer.anople.learner.WRITE_EVERY", 0.0)
    step = AnoPLeLearner.step

    def killed(learner: AnoPLeLearner) -> object:
        if learner.done == 2:
            raise KeyboardInterrupt
        return step(learner)

    with monkeypatch.context() as patch:
        patch.setattr(AnoPLeLearner, "step", killed)
        assert run("resumed", "--resume", kept) != 0
    assert kept.exists()
    assert run("resumed", "--resume", kept) == 0
    assert not kept.exists()
    assert run("whole") == 0
    recipes = {}
    for name in ("ring", "other"):
        file = f"{name}.safetensors"
        assert (tmp_path / "resumed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
        recipes[name] = Recipe.open(tmp_path / "whole" / file)
    assert [len(recipe.header.shots) for recipe in recipes.values()] == [3, 2]
    assert recipes["other"].header.product == "nut"
    assert not np.allclose(recipes["ring"].image_prompts, recipes["other"].image_prompts)
    first, second = (recipe.conditions for recipe in recipes.values())
    assert first is not None
    assert first == second


@pytest.mark.parametrize(
    ("toml", "options", "message"),
    [
        ("", [], "names no product"),
        ("[ring]", [], "missing required field `images`"),
        ("[ring]\nimages = 'no'", [], "no does not exist"),
        ("['../ring']\nimages = 'no'", [], "is no name for a file"),
        ("ring", [], "is no TOML"),
        ("", ["--product", "ring"], "--product is for a single product"),
    ],
)
def test_a_wrong_list_of_products_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], toml: str, options: list[str], message: str
) -> None:
    (tmp_path / "products.toml").write_text(toml)
    command = ["--products", str(tmp_path / "products.toml"), "--out", str(tmp_path), *options]
    assert train_and_export(command) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume", "kept"], "--resume is an option of --method anople only"),
        (["--method", "anople", "--margin", "0.1"], "--margin is no setting of anople"),
        (["--depth", "2"], "--depth is no setting of promptad"),
        (["--method", "anople", "--protocol", "official"], "AnoPLe has none, leave it out"),
        (["--method", "anople", "--suffixes", "generic"], "AnoPLe learns from painted defects and takes no suffixes"),
        (
            ["--method", "anople", "--memory", "plain"],
            "an engine's prompted graph has only memory 'prompted'",
        ),
    ],
)
def test_settings_of_the_other_method_are_refused(
    vit_engine: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    assert Command(vit_engine, photos, tmp_path / "ring.safetensors", OF_VIT)(*options) == 2
    assert message in capsys.readouterr().err


def test_the_shipped_engine_is_the_default(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--images", str(photos / "good"), "--product", "ring", "--steps", "3", "--out", "ring.safetensors"]
    assert train_and_export(options) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["ring.safetensors"]
    assert Recipe.open("ring.safetensors").header.graph == read_spec(SHIPPED).graph_id("plain", "fp32")


def test_refining_a_taught_recipe_learns_what_its_photos_teach(
    command: Command, engine_folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taught, refined, tiled = (tmp_path / f"{name}.safetensors" for name in ("taught", "refined", "tiled"))
    options = ["--images", str(photos / "good"), "--product", "ring", "--engine", str(engine_folder)]
    assert main(["teach", *options, "--out", str(taught)]) == 0
    refine = ["train", "--backbone", "small", "--steps", "3", "--engine", str(engine_folder), "--refine"]
    assert main([*refine, str(taught), "--out", str(refined)]) == 0
    assert command() == 0
    assert refined.read_bytes() == command.out.read_bytes()

    assert main(["teach", *options, "--tiles", "1x2", "--out", str(tiled)]) == 0
    assert main([*refine, str(tiled), "--out", str(refined)]) == 0
    assert Recipe.open(refined).header.view == Recipe.open(tiled).header.view

    for more, message in (
        (["--images", "photos"], "--images with --refine"),
        (["--tiles", "2x2"], "--refine uses the recipe's view"),
    ):
        capsys.readouterr()
        assert main([*refine, str(taught), "--out", str(refined), *more]) == 2
        assert message in capsys.readouterr().err


def test_a_method_that_needs_larger_photos_than_a_recipe_holds_asks_for_them(
    vit_engine: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taught, engine = tmp_path / "taught.safetensors", ["--engine", str(vit_engine)]
    assert main(["teach", "--images", str(photos / "good"), "--product", "ring", *engine, "--out", str(taught)]) == 0
    refine = ["train", *map(str, OF_VIT), *engine, "--method", "anople", "--refine", str(taught)]
    assert main([*refine, "--out", str(tmp_path / "refined")]) == 2
    assert "holds its photos at 192 pixels, 192 and 384 are needed here: give the photos" in capsys.readouterr().err


def test_same_seed_same_bytes(command: Command, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert command("--seed", seed, out=tmp_path / name) == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_the_recipe_records_what_it_was_made_of(command: Command) -> None:
    assert command("--shots", "2", "--protocol", "official", "--roi", "40,20,200,200", "--lr", "0.01") == 0
    header = Recipe.open(command.out).header
    assert [shot.name for shot in header.shots] == ["1.png", "2.png"]
    assert header.protocol == "official"
    assert header.settings["lr"] == 0.01
    assert header.settings["suffix_place"] == "before"
    assert header.settings["suffixes"][0] == "damaged {}"
    assert header.view.roi is not None
    assert header.view.roi.width == 200


def test_the_official_protocol_knows_the_benchmarks_objects(command: Command) -> None:
    assert command("--protocol", "official", "--product", "metal_nut") == 0
    header = Recipe.open(command.out).header
    assert header.product == "metal nut"
    assert header.settings["suffixes"][8:] == [
        "{} with a bent shape",
        "{} with color stain",
        "{} with a flipped orientation",
        "{} with scratch",
    ]
    assert command("--product", "metal nut") == 0
    assert len(Recipe.open(command.out).header.settings["suffixes"]) == 8


def test_shots_can_be_left_out(command: Command) -> None:
    assert command("--no-shots") == 0
    assert Recipe.open(command.out).shots is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shots", "9"], "--shots 9: there are 3 photos; 1 to 3 can be used"),
        (["--product", "  "], "--product is empty"),
        (["--roi", "1,2,3"], "--roi 1,2,3: give x,y,width,height"),
        (["--roi", "0,0,999,10"], "region 0,0,999,10 does not lie inside a 320×240 frame"),
        (["--steps", "0"], "steps is out of range: Expected `int` >= 1"),
        (["--temperature", "nan"], "temperature nan: a finite number"),
        (["--product", "word " * 90], "fit: use a shorter product text"),
        (["--tiles", "many"], "--tiles many: give rows x columns"),
        (["--tiles", "0x1"], "tiles 0x1: give rows x columns"),
        (["--memory-taps", "a"], "--memory-taps a: give block numbers"),
        (["--memory-taps", "6+13"], "memory taps joined by + need a timm: backbone"),
        (["--image-maximum", "top"], "image_maximum top: for fusion memory or subspace, not residual"),
        (["--memory-grid", "0"], "memory grid 0: its side is from 1 to 240 patches"),
        (["--neighbourhood", "2"], "neighbourhood 2: give an odd number"),
        (["--tap-outputs"], "--tap-outputs: small is no ViT of CLIP, its taps are plain outputs"),
        (["--temperature", "hot"], "--temperature hot: give a number or exp or log"),
        (["--margin", "wide"], "--margin wide: give a number or none"),
        (["--seed", "-1"], "--seed -1: a whole number"),
        (["--false-reject-rate", "2"], "--false-reject-rate 2.0: between 0 and 0.5"),
        (["--suffixes", "nothing"], "--suffixes nothing: neither a file"),
        (["--backbone", "ViT-B-31"], "unknown backbone 'ViT-B-31'"),
        (["--backbone", "demo"], "the backbone demo is gone, small replaced it: leave out --backbone"),
        (["--out", "/nowhere/at/all/x"], "cannot write /nowhere/at/all/x: folder /nowhere/at/all does not exist"),
        (["--check-on", "labelled"], "small exists already; name another folder with --engine"),
        (["--images", "/nowhere"], "/nowhere does not exist: give a picture or a folder"),
    ],
)
def test_wrong_options_are_one_line_and_exit_2(
    command: Command, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert error.startswith("train-and-export: ")
    assert not command.out.exists()


def test_broken_photos_are_named(
    command: Command, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(photos / "good", folder)
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:500])
    assert command(images=folder) == 2
    assert "2.png is damaged or cut short" in capsys.readouterr().err
    shutil.copy(folder / "1.png", folder / "2.png")
    assert command(images=folder) == 2
    assert "2.png is the same photo as" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert command(images=tmp_path / "empty") == 2
    assert "no pictures in" in capsys.readouterr().err
    assert not command.out.exists()


def test_a_photo_saved_again_is_the_same_photo(
    command: Command, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "twice"
    shutil.copytree(photos / "good", folder)
    with Image.open(folder / "1.png") as picture:
        picture.save(folder / "copy.bmp")
    assert command(images=folder) == 2
    assert "copy.bmp is the same photo as" in capsys.readouterr().err


def test_a_tiny_photo_is_refused(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny").mkdir()
    Image.new("RGB", (1, 1)).save(tmp_path / "tiny" / "1.png")
    assert command(images=tmp_path / "tiny") == 2
    assert "1.png is 1×1 pixels: at least 8×8 is needed" in capsys.readouterr().err


def test_tiles_mask_and_further_photos_reach_the_recipe(
    command: Command, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.full((240, 320), 255, np.uint8)
    mask[:, :10] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    further = tmp_path / "further"
    further.mkdir()
    for seed in (11, 12, 13, 14):
        draw_part(seed).save(further / f"{seed}.png")
    assert (
        command("--tiles", "1x2", "--mask", str(tmp_path / "mask.png"), "--good", str(further), "--review", "0.8")
        == command("--bad", str(photos / "bad"), out=tmp_path / "other")
        == 0
    )
    recipe = Recipe.open(command.out)
    assert recipe.header.view.tiles == (1, 2)
    assert recipe.shots is not None
    assert len(recipe.shots) == 6
    assert recipe.header.calibration.source == "further photos"
    assert recipe.header.thresholds.review == 0.8
    assert len(recipe.header.calibration.image.scores) == 4
    assert recipe.header.shot_calibration.source == "leave-one-out"
    assert "makes fewer mistakes" in capsys.readouterr().out


def test_an_unexpected_error_is_one_line_and_exit_2(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: PromptLearner) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(PromptLearner, "step", fail)
    assert command() == 2
    assert "unexpected RuntimeError: first line (GOODPARTS_TRACEBACK=1 shows where)\n" in capsys.readouterr().err
    assert not command.out.exists()


def test_an_interrupt_leaves_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: PromptLearner) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PromptLearner, "step", interrupt)
    assert command() == 130
    assert capsys.readouterr().err == "train-and-export: interrupted; nothing was left half-written\n"
    assert list(command.out.parent.iterdir()) == []
