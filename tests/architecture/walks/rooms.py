"""The rooms of the house and their floors, read from import-linter's layers in pyproject.toml."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[3]
SOURCE_ROOTS = ("train", "export", "runtime", "calibration", "benchmarks")
#: Everybody may call these at any time, and they count as no step of a walk.
ASIDE = ("contract", "console")


@dataclass(frozen=True, slots=True)
class Room:
    """A package, or where import-linter holds its inner layers, a part of one.

    Attributes:
        name: without the leading "ckd.".
        floor: of the package, and of the part inside it; 0 is the ground.
    """

    name: str
    floor: tuple[int, int]

    @property
    def aside(self) -> bool:
        """Whether it is one that everybody may call."""
        return self.name in ASIDE


@cache
def rooms() -> dict[str, Room]:
    """All rooms by name, from the top floor to the ground."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layered = [one for one in contracts["contracts"] if one["type"] == "layers"]
    (house,) = (one["layers"] for one in layered if "containers" not in one)
    inner = {box: one["layers"] for one in layered for box in one.get("containers", ())}
    listed: list[Room] = []
    for floor, layer in zip(range(len(house))[::-1], house, strict=True):
        for package in layer.split(" | "):
            name = package.removeprefix("ckd.")
            parts = inner.get(package, [])
            for inner_floor, part_layer in zip(range(len(parts))[::-1], parts, strict=True):
                listed += [
                    Room(f"{name}.{part}", (floor, inner_floor + 1))
                    for part in part_layer.split(" | ")
                ]
            listed.append(Room(name, (floor, 0)))
    return {room.name: room for room in listed}


@cache
def room_of(file: str) -> Room | None:
    """The room that a source file is in; None if it is not one of ours."""
    for source_root in SOURCE_ROOTS:
        base = ROOT / source_root / "ckd"
        if file.startswith(f"{base}/"):
            parts = Path(file).relative_to(base).with_suffix("").parts
            for length in (2, 1):
                if (room := rooms().get(".".join(parts[:length]))) is not None:
                    return room
    return None
