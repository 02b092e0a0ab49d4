"""Fixtures of all tests: small engines, recipes and drawn photos. Each is made once in a run.

Tests use the backbone `small` where any backbone is suitable. Tests of AnoPLe, and others that need a ViT, use `vit`: a
tiny ViT with seeded random weights, which is registered in open_clip as ViT-tiny.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import open_clip
import pytest
from goodparts.export import engines
from goodparts.export.engines import make_engine
from goodparts.runtime.core.view import View
from goodparts.runtime.recipe.product import Product, compose_recipe
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.runtime.recipe.shots import Shots, load_shots
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.method import learn_recipe
from goodparts.trainer.promptad.method import PromptAD
from goodparts.trainer.promptad.suffixes import GENERIC
from goodparts.trainer.settings import RunOptions
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from goodparts.trainer.anople.learner import AnoPLeLearner


VIT = "ViT-tiny"
open_clip.add_model_config(Path(__file__).with_name("data") / f"{VIT}.json")


def open_vit(taps: tuple[int, ...] | None = None) -> Backbone:
    """Return the tiny ViT of five blocks, 192 px and width 128."""
    return Backbone.open(VIT, pretrained="random", taps=taps)


def draw_part(seed: int, *, defect: bool = False, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A ring on a noisy ground; a defect is a dark notch."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(150, 170, (size[1], size[0], 3), np.uint8)
    picture = Image.fromarray(ground)
    draw = ImageDraw.Draw(picture)
    x, y = size[0] // 2 + int(rng.integers(-4, 5)), size[1] // 2 + int(rng.integers(-4, 5))
    draw.ellipse([x - 80, y - 80, x + 80, y + 80], outline=(70, 80, 90), width=30)
    if defect:
        draw.rectangle([x + 40, y - 20, x + 95, y + 20], fill=(10, 10, 10))
    return picture


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good/ (3 photos) and bad/ (1 photo)."""
    root = tmp_path_factory.mktemp("photos")
    for kind, seeds in (("good", (1, 2, 3)), ("bad", (4,))):
        (root / kind).mkdir()
        for seed in seeds:
            draw_part(seed, defect=kind == "bad").save(root / kind / f"{seed}.png")
    return root


@pytest.fixture(scope="session")
def small() -> Backbone:
    """The default backbone."""
    return Backbone.open("small")


@pytest.fixture(scope="session")
def vit() -> Backbone:
    """The tiny ViT."""
    return open_vit()


@pytest.fixture(scope="session")
def engine_folder(small: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of the small backbone. Tests that damage it work on a copy."""
    folder = tmp_path_factory.mktemp("engines") / "small"
    make_engine(small, folder)
    return folder


@pytest.fixture(scope="session")
def vit_engine(vit: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of the tiny ViT."""
    folder = tmp_path_factory.mktemp("engines") / "vit"
    make_engine(vit, folder)
    return folder


@pytest.fixture(scope="session")
def images() -> Backbone:
    """A small image-only backbone with random weights."""
    return Backbone.open("timm:resnet10t", pretrained="random", image_size=64)


@pytest.fixture(scope="session")
def images_engine(images: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of the image-only backbone."""
    folder = tmp_path_factory.mktemp("engines") / "images"
    make_engine(images, folder, ["fp32"], few_pictures=True)
    return folder


@pytest.fixture(scope="session")
def copy_graph(engine_folder: Path) -> Callable[..., tuple[Path, ...]]:
    """Return a replacement of `write_graph` for tests of other code. It copies the graph of `engine_folder`, because an
    export takes seconds and gives the same bytes each time (test_same_backbone_same_bytes)."""

    def copy(_: object, folder: Path) -> tuple[Path, ...]:
        return tuple(Path(shutil.copy(engine_folder / f"encoder.{part}", folder)) for part in ("onnx", "weights"))

    return copy


@pytest.fixture
def _exported(copy_graph: Callable[..., tuple[Path, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "write_graph", copy_graph)


@pytest.fixture(scope="session")
def shots(small: Backbone, photos: Path) -> Shots:
    """The good photos as the small backbone reads them."""
    return load_shots(sorted((photos / "good").iterdir()), View(), (small.encoder.image_size,))


@pytest.fixture(scope="session")
def vit_shots(vit: Backbone, photos: Path) -> Shots:
    """The good photos at the tiny ViT's size and at twice that."""
    size = vit.encoder.image_size
    return load_shots(sorted((photos / "good").iterdir()), View(), (size, 2 * size))


@pytest.fixture(scope="session")
def recipe(small: Backbone, engine_folder: Path, shots: Shots) -> Recipe:
    """A ring learned in three steps by the official protocol, whose scores are of order 0.01."""
    return learn_ring(small, engine_folder, shots)


@pytest.fixture(scope="session")
def vit_recipe(vit: Backbone, vit_engine: Path, vit_shots: Shots) -> Recipe:
    """The same for the tiny ViT."""
    return learn_ring(vit, vit_engine, vit_shots)


def learn_ring(backbone: Backbone, engine: Path, shots: Shots) -> Recipe:
    from goodparts.runtime.engine.spec import read_spec

    method = PromptAD.configure("official", {"steps": 3})
    product = Product("ring", GENERIC, View(), shots)
    graph = read_spec(engine).graph_id("plain", "fp32")
    return learn_recipe(method, backbone, product, graph, RunOptions(protocol="official"))


@pytest.fixture(scope="session")
def recipe_file(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "ring.safetensors"
    recipe.save(path)
    return path


@pytest.fixture(scope="session")
def anople(vit: Backbone, vit_shots: Shots) -> AnoPLeLearner:
    """A ring learned in two steps."""
    from goodparts.trainer.anople.learner import AnoPLeLearner
    from goodparts.trainer.anople.model import Subject
    from goodparts.trainer.anople.settings import anople_settings

    doubled = vit_shots.views[2 * vit.encoder.image_size]
    learner = AnoPLeLearner(vit, [Subject("ring", doubled)], anople_settings(steps=2, batch=2, lr=0.05))
    learner.learn()
    return learner


@pytest.fixture(scope="session")
def prompted_folder(
    vit: Backbone, anople: AnoPLeLearner, vit_engine: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The engine with a prompted graph."""
    from goodparts.export.prompted import add_prompted
    from goodparts.trainer.anople.encoder import PromptedEncoder

    folder = Path(shutil.copytree(vit_engine, tmp_path_factory.mktemp("prompted") / "vit"))
    add_prompted(folder, vit, PromptedEncoder(vit, anople.settings))
    return folder


@pytest.fixture(scope="session")
def anople_recipe(vit: Backbone, anople: AnoPLeLearner, prompted_folder: Path, vit_shots: Shots) -> Recipe:
    """The ring of `anople`."""
    from goodparts.runtime.engine.spec import read_spec
    from goodparts.trainer.anople.preparation import learned_products

    [learned] = learned_products(vit, anople, [Product("ring", (), View(), vit_shots)])
    graph = read_spec(prompted_folder).graph_id("prompted", "fp32")
    return compose_recipe(vit.encoder, learned, graph, RunOptions())
