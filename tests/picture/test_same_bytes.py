"""Ordinary photographs keep the bytes that they always had.

The networks were trained, scored and calibrated on these bytes, so a change here would be a change
of every answer. The digests were written down from Pillow's decoding, before anything else decoded.
"""

import hashlib
import os
from pathlib import Path

import pytest

from ckd.picture.decode import read_rgb

ROOT = Path(__file__).parents[2]
PHOTOGRAPHS = ROOT / "tests" / "assets" / "photographs"

#: Generated dermoscopy, encoded by Pillow: first 32 digits of SHA-256 over shape and bytes.
DIGESTS = {
    "grey.jpg": "f833883bf77b5797a43f8fa80c0b2724",
    "grey.png": "e313f59fff97c813425a86ee6124235d",
    "jpeg.tif": "c72f7d355105966dc3c6598e91c6dcd7",
    "lossless.webp": "83e9b71cbc2508b7b0cfed07fe1af775",
    "lzw.tif": "83e9b71cbc2508b7b0cfed07fe1af775",
    "opaque.png": "83e9b71cbc2508b7b0cfed07fe1af775",
    "palette.png": "5c044348bad186088d80d9d631df9378",
    "plain.bmp": "9d2ee1345351169ce86b3ce809528811",
    "plain.jpg": "81203eda45e54b4139f0aa6beb3e12a0",
    "plain.png": "83e9b71cbc2508b7b0cfed07fe1af775",
    "plain.tif": "83e9b71cbc2508b7b0cfed07fe1af775",
    "plain.webp": "17926573431e0676ddfe12955b7b2501",
    "progressive.jpg": "81203eda45e54b4139f0aa6beb3e12a0",
    "srgb_profile.jpg": "81203eda45e54b4139f0aa6beb3e12a0",
    "subsampling_444.jpg": "f3e900c689048053c63f583ba57e0fba",
    "turned.jpg": "6ae14a97c184479091c39935dfb17425",
    "turned.png": "a507c5abe3155d0ac8e55a669088d7c3",
}

#: The one photograph of a lesion that the repository holds.
DEMO = "ea46cac3d498fa113d5e4898adbeb57d"

#: Twenty photographs of ISIC 2017 at 256 px, spread over the training part.
ISIC_DIGESTS = {
    "ISIC_0000000": "c4b4e31a3506cb195b3b13a3d247c874",
    "ISIC_0000088": "db9306a939d188dc57f2379587aa747b",
    "ISIC_0000181": "840c66717c769e4b8aa573e4451f6a88",
    "ISIC_0000282": "832af8824ff31c2b97d9b7b0dde2b3e6",
    "ISIC_0000382": "9b25d8458e06a9a22d2ffe84eef34471",
    "ISIC_0000495": "400ea0e2a988f098f82fd6d399d742ff",
    "ISIC_0002287": "af343b7767bb2f782fb89aadfb3da9d3",
    "ISIC_0008541": "78f0fd8c89a0bd58792aa2bdb0e4964e",
    "ISIC_0009940": "c9af19f83523ab3a247993cf81265a0b",
    "ISIC_0010064": "6ab0b4ee3464e3b528696be01de2e1c5",
    "ISIC_0010320": "e469225a1c55a962b5975f7793535cfc",
    "ISIC_0010567": "bc5d62a7949cee564dcca85a49c60567",
    "ISIC_0011144": "b758fdca71b6cd15d7765953d599f8fd",
    "ISIC_0011366": "f7041703ed8d4537688587075d4e2c1d",
    "ISIC_0012309": "024681a4e23cd2feb37f201e8b5540ce",
    "ISIC_0012659": "932bc7731307d89cb0dc5ee93facb5e0",
    "ISIC_0012851": "7be339bbc8414c2687e0d1b0f31f7849",
    "ISIC_0013086": "0883946eb4877fa4dfa66b988f15a9dc",
    "ISIC_0013310": "af168fcb2d75eb5f075221bdda14994f",
    "ISIC_0013559": "c537bf33c5db6f5ccb19032d19ac6c85",
}


def digest(path: Path) -> str:
    image_HWC = read_rgb(path)
    content = repr(image_HWC.shape).encode() + image_HWC.tobytes()
    return hashlib.sha256(content).hexdigest()[:32]


@pytest.mark.parametrize("name", DIGESTS)
def test_ordinary_photographs_keep_their_bytes(name: str) -> None:
    assert digest(PHOTOGRAPHS / name) == DIGESTS[name]


def test_every_photograph_of_the_folder_has_a_digest() -> None:
    assert {path.name for path in PHOTOGRAPHS.iterdir()} == set(DIGESTS)


def test_the_demonstration_keeps_its_bytes() -> None:
    assert digest(ROOT / "tests" / "assets" / "demo.png") == DEMO


def test_photographs_of_isic_keep_their_bytes() -> None:
    folder = Path(os.environ.get("CKD_DATA_ISIC2017", ROOT.parent / "shared/data/isic2017_256"))
    if not folder.is_dir():
        pytest.skip("needs ISIC 2017 at 256 px; name its folder in CKD_DATA_ISIC2017")
    images = folder / "ISIC-2017_Training_Data"
    assert {stem: digest(images / f"{stem}.jpg") for stem in ISIC_DIGESTS} == ISIC_DIGESTS
