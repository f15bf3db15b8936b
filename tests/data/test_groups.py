"""Groups of photographs: hair is measured, every group has its place, thirds are thirds."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.capture.hair import COVERS, cover_of, hair_cover
from ckd.data.groups import KINDS, Traits, groups_of
from ckd.data.samples import Sample, SampleSet
from ckd.data.skin_tone import NO_TONE, TONES
from ckd.data.synthetic.fields import noise
from ckd.data.synthetic.overlays import hair_opacity, ruler_opacity


def skin(side_px: int, seed: int = 0) -> NDArray[np.float32]:
    """Mottled skin with a dark lesion, pores and a round dark corner: RGB from 0 to 255."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side_px * 1j, -1 : 1 : side_px * 1j]
    image_HWC = np.empty((side_px, side_px, 3), np.float32)
    image_HWC[:] = (205, 165, 140)
    image_HWC += 6 * noise(rng, side_px, 0.05, 2)[..., None]
    image_HWC[(x - 0.1) ** 2 + y**2 < 0.12] = (90, 50, 40)
    for row, column in rng.integers(0, side_px - 3, (40, 2)):
        image_HWC[row : row + 3, column : column + 3] -= 60  # short, so no hair
    image_HWC[x**2 + y**2 > 1.6] = 5
    return image_HWC


def drawn(image_HWC: NDArray[np.float32], opacity_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    cover_HW1 = opacity_HW[..., None] / 255
    return np.clip(image_HWC * (1 - cover_HW1) + 30 * cover_HW1, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("side_px", [256, 400])
@pytest.mark.parametrize("count", [10, 30])
def test_hair_covers_what_was_drawn(side_px: int, count: int) -> None:
    for seed in range(2):
        opacity_HW = hair_opacity(np.random.default_rng(seed), (side_px, side_px), count)
        true_cover = opacity_HW.sum() / 255 / opacity_HW.size
        measured = hair_cover(drawn(skin(side_px, seed), opacity_HW))
        # Hair over the lesion and the dark corner cannot be told.
        assert 0.65 * true_cover < measured < 1.15 * true_cover


def test_without_hair_there_is_hardly_any_and_a_ruler_is_not_much() -> None:
    assert hair_cover(np.clip(skin(256), 0, 255).astype(np.uint8)) < 0.003
    ruler_HW = ruler_opacity(np.random.default_rng(0), (256, 256))
    assert cover_of(hair_cover(drawn(skin(256), ruler_HW))) != COVERS[-1]


def sample(index: int, label: int | None) -> Sample:
    return Sample(f"i{index}", image=None, label=label)  # type: ignore[arg-type]


def test_every_group_has_its_place_also_an_empty_one() -> None:
    samples = SampleSet(
        "x", "val", ("MEL", "NEV"), tuple(map(sample, range(5), (1, 1, None, 1, 2)))
    )
    traits = (
        Traits(0.5, 60.0, 0.0), Traits(0.1, 45.0, 0.015), Traits(None, None, 0.3),
        Traits(0.2, -60.0, 0.007), Traits(0.3, None, 0.0),
    )  # fmt: skip
    groups = groups_of(samples, traits)
    found = {(group.kind, group.name): group.images for group in groups}
    assert list(dict.fromkeys(group.kind for group in groups)) == [*KINDS]
    assert {name for kind, name in found if kind == "skin tone"} == {*TONES, NO_TONE}
    assert {name for kind, name in found if kind == "hair"} == {*COVERS}
    assert {key: images for key, images in found.items() if images} == {
        ("label", "NEV"): (0, 1, 3),
        ("label", "other"): (4,),
        ("lesion size", "small lesions"): (1, 3),
        ("lesion size", "middle lesions"): (4,),
        ("lesion size", "large lesions"): (0,),
        ("skin tone", "very light skin"): (0,),
        ("skin tone", "light skin"): (1,),
        ("skin tone", "dark skin"): (3,),
        ("skin tone", NO_TONE): (4,),
        ("hair", "hardly any hair"): (0, 3, 4),
        ("hair", "some hair"): (1,),
        ("hair", "much hair"): (2,),
    }
    assert found["label", "MEL"] == ()
