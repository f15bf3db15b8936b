import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ckd.contract.errors import InputError
from ckd.contract.learnt import LEARNT_RECORD, Learnt, read_learnt, write_learnt
from ckd.contract.placement import (
    SIGNED,
    UNSIGNED,
    Grid,
    NetworkPlacement,
    PlacedLayer,
    Placement,
    placement_to_json,
    read_placement,
)

LAYERS = (PlacedLayer("Conv", "a.weight", ("x",)), PlacedLayer("Add", None, ("x", "y")))
GRIDS = {"x": Grid(UNSIGNED, 6.0), "y": Grid(SIGNED, None)}
PLACEMENT = Placement(
    "tiny@1234",
    {
        "one": NetworkPlacement("f" * 64, ("image",), ("x",), LAYERS, GRIDS),
        "two": NetworkPlacement("e" * 64, ("x",), ("logits",), (), {}),
    },
)
SCALES = {"one": {"x": 0.0225, "y": 0.25}, "two": {}}


def with_one(**change: Any) -> Placement:
    """With another network of that name."""
    one = replace(PLACEMENT.networks["one"], **change)
    return replace(PLACEMENT, networks={**PLACEMENT.networks, "one": one})


def test_a_placement_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "placement.json"
    path.write_text(placement_to_json(PLACEMENT))
    assert read_placement(path) == PLACEMENT
    assert read_placement(path).digest == PLACEMENT.digest


def test_a_placement_is_the_same_whichever_bundle_it_was_made_of() -> None:
    again = replace(PLACEMENT, bundle="tiny@5678")
    assert placement_to_json(again) != placement_to_json(PLACEMENT)
    assert again.digest == PLACEMENT.digest


@pytest.mark.parametrize(
    "change",
    [
        {"structure": "d" * 64},
        {"layers": LAYERS[1:]},
        {"tensors": {**GRIDS, "y": Grid(SIGNED, 3.0)}},
        {"outputs": ("y",)},
    ],
)
def test_a_placement_of_something_else_has_another_digest(change: dict[str, Any]) -> None:
    assert with_one(**change).digest != PLACEMENT.digest


def test_a_grid_ends_just_below_what_its_tensor_can_hold() -> None:
    scale = Grid(UNSIGNED, 6.0).largest_scale
    assert 5.9999 < 255 * scale < 6.0
    assert Grid(SIGNED, None).largest_scale == float("inf")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("schema",), 2, "schema 2, this ckd reads 1"),
        (("networks",), 3, "no placement"),
        (("networks", "one", "tensors", "x", "levels"), [0, 15], r"levels \[0, 15\], expected"),
        (("networks", "one", "tensors", "x", "limit"), -1, "limit -1.0, expected a positive"),
        (("networks", "one", "tensors"), {"x": {"levels": [0, 255], "limit": None}}, "'y' is read"),
        (("networks", "one", "layers", 1, "weight"), "a.weight", "is the weight of two layers"),
        (("networks", "one", "layers", 0, "reads"), "x", "'x' is no list of names"),
    ],
)
def test_a_placement_of_another_form_is_refused_in_one_line(
    tmp_path: Path, place: tuple[Any, ...], value: object, message: str
) -> None:
    tree = json.loads(placement_to_json(PLACEMENT))
    branch = tree
    for key in place[:-1]:
        branch = branch[key]
    branch[place[-1]] = value
    path = tmp_path / "placement.json"
    path.write_text(json.dumps(tree))
    with pytest.raises(InputError, match=message) as error:
        read_placement(path)
    assert "\n" not in str(error.value)
    assert "`ckd-calibrate placement` makes one" in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json", "\x00"])
def test_what_is_no_placement_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "placement.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_placement(path)
    path.write_text(text)
    with pytest.raises(InputError, match="no placement"):
        read_placement(path)


def test_what_was_learnt_is_read_as_it_was_written(tmp_path: Path) -> None:
    learnt = Learnt(PLACEMENT, SCALES, {"seed": 1})
    with pytest.raises(InputError, match=r"no qat\.json in it; `ckd-train qat` makes"):
        read_learnt(tmp_path)
    write_learnt(tmp_path, learnt, b"")
    read = read_learnt(tmp_path)
    assert (read.placement, read.scales) == (learnt.placement, learnt.scales)
    assert read.record["seed"] == 1


@pytest.mark.parametrize("name", ["weights.safetensors", "ranges.json"])
def test_files_that_were_changed_are_not_taken_for_what_was_learnt(
    tmp_path: Path, name: str
) -> None:
    write_learnt(tmp_path, Learnt(PLACEMENT, SCALES, {}), b"weights")
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b" ")
    with pytest.raises(InputError, match=rf"{name}: damaged \(it is not what qat\.json says\)"):
        read_learnt(tmp_path)


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ({"one": {"x": 0.1}, "two": {}}, "'y' has a scale or is placed"),
        ({"one": {"x": 0.1, "y": 0.0}, "two": {}}, r"scale 0\.0 of y, expected above 0"),
        ({"one": {"x": 0.1, "y": "far"}, "two": {}}, "could not convert"),
        ([], "damaged"),
    ],
)
def test_damaged_ranges_are_refused(tmp_path: Path, scales: object, message: str) -> None:
    write_learnt(tmp_path, Learnt(PLACEMENT, SCALES, {}), b"")
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps({"placement": PLACEMENT.digest, "scales": scales}))
    with pytest.raises(InputError, match=message):
        read_learnt(tmp_path)


def test_ranges_of_another_placement_are_refused(tmp_path: Path) -> None:
    write_learnt(tmp_path, Learnt(PLACEMENT, SCALES, {}), b"")
    other = with_one(layers=LAYERS[1:])
    (tmp_path / "placement.json").write_text(placement_to_json(other))
    with pytest.raises(InputError, match=r"of another placement than placement\.json beside it"):
        read_learnt(tmp_path)
    assert (tmp_path / LEARNT_RECORD).is_file()
