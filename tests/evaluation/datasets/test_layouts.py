"""Every layout in a tiny root of its own: what is read, and the errors for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from goodparts.evaluation.datasets import DataSet, load_truth, open_data
from goodparts.runtime.core.errors import FileError, GoodpartsError, ImageError, SettingsError
from PIL import Image

Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Write grey pictures, 12×10 and each different, or masks with one value in a corner."""
    count = 0

    def write(*names: str, mask: int = 0) -> Path:
        nonlocal count
        for name in names:
            count += 1
            pixels = np.full((10, 12), 0 if mask else count, np.uint8)
            pixels[:3, :4] = mask or 200
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        return tmp_path / "set"

    return write


def names(data: DataSet, category: str) -> tuple[list[str], dict[str, str | None]]:
    """Return what is learned from and what is tested with, as paths from the root."""
    split = data.split(category)
    tests = {sample.path.relative_to(data.root).as_posix(): sample.defect for sample in split.test}
    assert list(split.train) == sorted(split.train)
    assert list(tests) == sorted(tests)
    return [path.relative_to(data.root).as_posix() for path in split.train], tests


def mvtec(draw: Draw, category: str = "metal_nut") -> Path:
    photos = ("train/good/001.png", "train/good/000.png", "test/good/000.png", "test/bent/001.png", "test/bent/000.png")
    draw(*(f"{category}/{name}" for name in photos))
    return draw(*(f"{category}/ground_truth/bent/{stem}_mask.png" for stem in ("000", "001")), mask=255)


def loco(draw: Draw) -> Path:
    photos = ("train/good/0.png", "validation/good/0.png", "test/good/0.png")
    root = draw(*(f"pushpins/{name}" for name in (*photos, "test/logical_anomalies/0.png")))
    draw("pushpins/ground_truth/logical_anomalies/0/000.png", mask=254)
    draw("pushpins/ground_truth/logical_anomalies/0/001.png", mask=250)
    config = [
        {"defect_name": "extra", "pixel_value": 254, "saturation_threshold": 5, "relative_saturation": False},
        {"defect_name": "colour", "pixel_value": 250, "saturation_threshold": 0.5, "relative_saturation": True},
    ]
    (root / "pushpins" / "defects_config.json").write_text(json.dumps(config))
    return root


def visa(draw: Draw, *rows: str) -> Path:
    images = "pcb1/Data/Images"
    draw(f"{images}/Normal/1.JPG", f"{images}/Normal/0.JPG", f"{images}/Normal/2.JPG", f"{images}/Anomaly/0.JPG")
    root = draw("pcb1/Data/Masks/Anomaly/0.png", mask=2)
    lines = [
        "object,split,label,image,mask",
        f"pcb1,train,normal,{images}/Normal/1.JPG,",
        f"pcb1,train,normal,{images}/Normal/0.JPG,",
        f"pcb1,test,normal,{images}/Normal/2.JPG,",
        f"pcb1,test,anomaly,{images}/Anomaly/0.JPG,pcb1/Data/Masks/Anomaly/0.png",
        *rows,
    ]
    (root / "split_csv").mkdir()
    (root / "split_csv" / "1cls.csv").write_text("\n".join(lines) + "\n")
    return root


def realiad(draw: Draw, train: str = "OK") -> Path:
    place = "realiad_1024/usb"
    draw(*(f"{place}/{name}" for name in ("OK/S1/a.jpg", "OK/S2/b.jpg", "NG/AK/S1/c.jpg", "NG/AK/S2/d.jpg")))
    root = draw(f"{place}/NG/AK/S1/c.png", mask=255)
    entries = [("OK/S2/b.jpg", "OK", None), ("NG/AK/S1/c.jpg", "AK", "NG/AK/S1/c.png"), ("NG/AK/S2/d.jpg", "AK", None)]
    listing = {
        "meta": {"prefix": "usb/", "normal_class": "OK"},
        "train": [{"category": "usb", "anomaly_class": train, "image_path": "OK/S1/a.jpg", "mask_path": None}],
        "test": [{"image_path": path, "anomaly_class": kind, "mask_path": mask} for path, kind, mask in entries],
    }
    (root / "realiad_jsons").mkdir()
    (root / "realiad_jsons" / "usb.json").write_text(json.dumps(listing))
    return root


def test_mvtec(draw: Draw) -> None:
    data = open_data(mvtec(draw))
    assert (data.name, data.layout, data.categories) == ("set", "mvtec", ("metal_nut",))
    train, tests = names(data, "metal_nut")
    assert train == ["metal_nut/train/good/000.png", "metal_nut/train/good/001.png"]
    assert tests == {
        "metal_nut/test/bent/000.png": "bent",
        "metal_nut/test/bent/001.png": "bent",
        "metal_nut/test/good/000.png": None,
    }
    split = data.split("metal_nut")
    assert split.text == "metal nut"
    assert [path.name for path in split.test[1].masks] == ["001_mask.png"]
    truth = load_truth(split.test[1])
    assert (truth.mask.shape, truth.mask.sum(), truth.mask[:3, :4].all()) == ((10, 12), 12, True)
    assert not load_truth(split.test[2]).mask.any()


def test_one_category_is_a_root_as_well(draw: Draw) -> None:
    assert open_data(mvtec(draw) / "metal_nut").categories == ("metal_nut",)


def test_published_sets_have_their_names(draw: Draw) -> None:
    for category in ("bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate"):
        mvtec(draw, category)
    root = mvtec(draw, "tubes")
    assert open_data(root).name == "MPDD"
    assert len(open_data(root).categories) == 6


def test_loco(draw: Draw) -> None:
    data = open_data(loco(draw))
    assert (data.name, data.layout) == ("MVTec LOCO", "loco")
    split = data.split("pushpins")
    assert [path.parent.parent.name for path in split.validation] == ["validation"]
    assert [sample.defect for sample in split.test] == [None, "logical_anomalies"]
    truth = load_truth(split.test[1], split.saturations)
    assert truth.mask.sum() == 12
    assert truth.defects is not None
    assert [(mask.sum(), area) for mask, area in truth.defects] == [(12, 5), (12, 6)]
    good = load_truth(split.test[0], split.saturations)
    assert good.defects == ()


def test_btad_has_endings_of_all_kinds(draw: Draw) -> None:
    draw("01/train/ok/0.bmp", "01/test/ok/1.bmp", "01/test/ko/0.bmp", "02/train/ok/0.png", "02/test/ko/0.png")
    draw("01/ground_truth/ko/0.png", mask=255)
    data = open_data(draw("02/ground_truth/ko/0.bmp", mask=255))
    assert (data.name, data.categories) == ("BTAD", ("01", "02"))
    assert names(data, "01")[1] == {"01/test/ko/0.bmp": "ko", "01/test/ok/1.bmp": None}
    assert load_truth(data.split("02").test[0]).mask.sum() == 12


def test_visa(draw: Draw) -> None:
    data = open_data(visa(draw))
    assert (data.name, data.categories) == ("VisA", ("pcb1",))
    train, tests = names(data, "pcb1")
    assert train == ["pcb1/Data/Images/Normal/0.JPG", "pcb1/Data/Images/Normal/1.JPG"]
    assert tests == {"pcb1/Data/Images/Anomaly/0.JPG": "anomaly", "pcb1/Data/Images/Normal/2.JPG": None}
    split = data.split("pcb1")
    assert split.text == "printed circuit board"
    assert load_truth(split.test[0]).mask.sum() == 12  # the value of its defect is 2


@pytest.mark.parametrize("nested", [False, True])
def test_realiad(draw: Draw, nested: bool) -> None:
    root = realiad(draw)
    if nested:
        inner = root / "realiad_jsons" / "realiad_jsons"
        inner.mkdir()
        (root / "realiad_jsons" / "usb.json").rename(inner / "usb.json")
    data = open_data(root)
    assert (data.name, data.categories) == ("Real-IAD", ("usb",))
    split = data.split("usb")
    assert [sample.defect for sample in split.test] == ["AK", "AK", None]
    assert [sample.marked for sample in split.test] == [True, False, True]
    with pytest.raises(ImageError, match="has no mask: the photo counts in image metrics only"):
        load_truth(split.test[1])


@pytest.mark.parametrize(
    ("photos", "masks"),
    [
        ("gas_mask", "gas_mask"),
        ("gas_mask", "gas_mask_mask"),
        ("gas gas_mask", "gas gas_mask"),
        ("gas gas_mask", "gas_mask gas_mask_mask"),
        ("gas gas_mask", "gas gas_mask_mask"),
        ("L\u00f6cher", "Lo\u0308cher_mask"),
        ("Lo\u0308cher", "L\u00f6cher"),
    ],
)
def test_masks_belong_to_the_photos_of_their_names(photos: str, masks: str, draw: Draw) -> None:
    draw("nut/train/good/0.png", *(f"nut/test/L\u00f6cher/{photo}.png" for photo in photos.split()))
    root = draw(*(f"nut/ground_truth/Lo\u0308cher/{mask}.png" for mask in masks.split()), mask=255)
    found = {sample.path.stem: [mask.stem for mask in sample.masks] for sample in open_data(root).split("nut").test}
    assert found == {photo: [mask] for photo, mask in zip(photos.split(), masks.split(), strict=True)}


def test_two_masks_of_a_photo_are_refused(draw: Draw) -> None:
    draw("nut/train/good/0.png", "nut/test/bent/gas.png")
    root = draw("nut/ground_truth/bent/gas.png", "nut/ground_truth/bent/gas_mask.png", mask=255)
    with pytest.raises(ImageError, match=r"gas.png: 2 masks in .*bent, exactly one is needed"):
        open_data(root).split("nut")


def test_loco_masks_are_found_however_letters_are_composed(draw: Draw) -> None:
    root = loco(draw)
    (root / "pushpins/test/logical_anomalies/0.png").rename(root / "pushpins/test/logical_anomalies/\u00f6.png")
    truth = root / "pushpins/ground_truth/logical_anomalies"
    (truth / "0").rename(truth / "o\u0308")
    assert len(open_data(root).split("pushpins").test[1].masks) == 2


def test_plain(draw: Draw) -> None:
    data = open_data(draw("good/b.png", "good/a.png"))
    train, tests = names(data, "set")
    assert train == list(tests) == ["good/a.png", "good/b.png"]
    draw("bad/c.png", "bad/scratch/d.png")
    split = data.split("set")
    assert [(sample.defect, sample.marked) for sample in split.test[:2]] == [("bad", False), ("scratch", False)]
    assert [sample.path.name for sample in split.tests(split.train[:1])] == ["c.png", "d.png", "b.png"]
    draw("masks/c.png", "masks/scratch/d_mask.png", mask=255)
    assert all(sample.marked for sample in data.split("set").test)
    (data.root / "masks" / "c.png").unlink()
    with pytest.raises(ImageError, match=r"c.png: 0 masks in .*masks, exactly one is needed: c_mask.png or c.png"):
        data.split("set")


def test_a_wrong_root(draw: Draw, tmp_path: Path) -> None:
    root = mvtec(draw)
    for layout, message in (
        ("visa", r"is not a VisA root: no split_csv/1cls.csv in it; it has metal_nut$"),
        ("loco", r"is not a MVTec LOCO root: no test/logical_anomalies in it; it has metal_nut$"),
        (None, r"is no folder: name the folder"),
    ):
        with pytest.raises(FileError, match=message):
            open_data(root if layout else tmp_path / "nowhere", layout)
    with pytest.raises(FileError, match=r"no known layout: looked for .*train/good.*; it has set; try .*set$"):
        open_data(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="it has nothing$"):
        open_data(tmp_path / "empty")
    with pytest.raises(SettingsError, match="layout 'mvtek' is unknown: there are visa "):
        open_data(root, "mvtek")
    with pytest.raises(SettingsError, match="no category 'bolt': there are metal_nut$"):
        open_data(root).split("bolt")
    draw("good/0.png")
    with pytest.raises(SettingsError, match="fits several layouts, mvtec and plain"):
        open_data(root)
    assert open_data(root, "plain").categories == ("set",)


def test_what_is_missing_is_named(draw: Draw) -> None:
    root = mvtec(draw)
    mask = root / "metal_nut" / "ground_truth" / "bent" / "001_mask.png"
    mask.unlink()
    with pytest.raises(ImageError, match=r"bent/001.png: 0 masks in .*ground_truth/bent, exactly one is needed"):
        open_data(root).split("metal_nut")
    for path in (root / "metal_nut" / "train" / "good").iterdir():
        path.unlink()
    draw("metal_nut/ground_truth/bent/001.png", mask=255)
    with pytest.raises(FileError, match=r"no pictures in .*train/good"):
        open_data(root).split("metal_nut")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("pcb1,test,normal,../x.JPG,", "only paths within the data set"),
        ("pcb1,test,normal,/etc/passwd,", "only paths within the data set"),
        ("pcb1,test,anomaly,pcb1/Data/Images/Anomaly/0.JPG,", "lists '': only paths"),
        ("pcb1,test,normal,pcb1/9.JPG,", "pcb1: 1 listed files do not exist, the first is .*9.JPG"),
        ("pcb1,train,anomaly,pcb1/Data/Images/Anomaly/0.JPG,", "has the label anomaly in the split train: train"),
    ],
)
def test_lists_that_cannot_be_followed(draw: Draw, row: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        open_data(visa(draw, row)).split("pcb1")


def test_damaged_lists(draw: Draw) -> None:
    root = loco(draw)
    (root / "pushpins" / "defects_config.json").write_text("[{}]")
    with pytest.raises(FileError, match=r"defects_config.json is not in MVTec LOCO's format"):
        open_data(root).split("pushpins")
    (root / "split_csv").mkdir()
    (root / "split_csv" / "1cls.csv").write_text("object,split\n")
    with pytest.raises(FileError, match="lacks the columns image label mask"):
        open_data(root, "visa")
    with pytest.raises(FileError, match="lists OK/S1/a.jpg to learn from, which is not OK"):
        open_data(realiad(draw, train="AK"), "realiad").split("usb")
    (root / "realiad_jsons" / "usb.json").write_text("{")
    with pytest.raises(GoodpartsError, match="is not in Real-IAD's format"):
        open_data(root, "realiad").split("usb")


def test_a_hidden_folder_is_no_category(draw: Draw) -> None:
    root = draw("small/good/0.png", ".large.part/good/0.png")
    assert open_data(root).categories == ("small",)
