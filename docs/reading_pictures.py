"""Makes the pictures of docs/reading.md, and README's, anew.

    .venv/bin/python docs/reading_pictures.py

The embedded networks look at generated dermoscopy. On docs/reading.md, what decides are thresholds
that were set by hand here, so that each case occurs: they were fitted on nothing. README's picture
has the embedded bundle's own, and is what `make demo` draws.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.contract.spec import CascadeSpec, Section
from ckd.data.synthetic import dermoscopy, write_isic2017
from ckd.finding.doubts import Doubts
from ckd.finding.finder import Finder
from ckd.finding.finding import Finding
from ckd.finding.label_sets import LabelSets
from ckd.finding.operating_points import NAMES, OperatingPoint, OperatingPoints
from ckd.finding.overlay import draw_overlay
from ckd.finding.probabilities import PRECISIONS, ProbabilityRule
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.runtime import Cascade

FOLDER: Final = Path(__file__).parent / "reading"
SIDE_PX: Final = 400
#: Name of the file, label and seed of the generated picture.
CASES: Final = {
    "no_refer": ("NEV", 1),
    "flagged": ("MEL", 3),
    "set_holds_target": ("NEV", 4),
    "set_empty": ("NEV", 56),
    "masks_disagree": ("SBK", 25),
}
_FLAGS_FROM: Final = dict(zip(NAMES, (0.3, 0.6, 0.99), strict=True))


def main() -> None:
    """Write one JPEG for each case, and README's."""
    FOLDER.mkdir(exist_ok=True)
    with Cascade.load(backend="onnxruntime") as cascade:
        _write_demo(cascade)
        spec = replace(cascade.spec, sections=_sections(cascade.spec))
        plain = replace(cascade.spec, sections={})
        for name, (label, seed) in CASES.items():
            image_HWC = dermoscopy(seed, SIDE_PX, label).image_HWC
            finding = _found(cascade, spec, image_HWC)
            _check(name, finding)
            _write(name, image_HWC, finding)
        image_HWC = dermoscopy(7, SIDE_PX, "NEV").image_HWC
        finding = _found(cascade, spec, image_HWC)
        # The embedded networks give no features: this reason is put in.
        assert finding.decision is not None
        doubtful = replace(finding.decision, reasons=("unlike_training",))
        _write("unlike_training", image_HWC, replace(finding, decision=doubtful))
        _write("score", image_HWC, _found(cascade, plain, image_HWC))
        image_HWC = dermoscopy(3, SIDE_PX, "MEL").image_HWC
        finding = _found(cascade, spec, image_HWC, "specific", {"MEL": 0.02})
        _write("chosen", image_HWC, finding)
        grey_HWC = np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)
        finding = _found(cascade, spec, grey_HWC)
        _check("no_finding", finding)
        _write("no_finding", grey_HWC, finding)


def _write_demo(cascade: Cascade) -> None:
    """The overlays of `make demo`, side by side."""
    with tempfile.TemporaryDirectory() as work:
        write_isic2017(Path(work), num_train=3, num_val=1, side_px=512)
        paths = sorted(Path(work).glob("*_Training_Data/*.jpg"))
        drawn = [draw_overlay(read_rgb(path), cascade.predict(path)) for path in paths]
    _save("demo", np.hstack(drawn), "what `make demo` draws")


def _sections(spec: CascadeSpec) -> dict[str, Section]:
    rule = ProbabilityRule(
        spec.labels,
        is_exclusive=True,
        temperatures=dict.fromkeys(PRECISIONS, 1.0),
        bias_K=(0.0, 0.0, 0.0),
        prevalence_K=(0.2, 0.1, 0.7),
    )
    points = {name: OperatingPoint(name, at, 9, 10, 6, 10) for name, at in _FLAGS_FROM.items()}
    in_set = dict(zip(spec.labels, (0.2, 0.5, 0.7), strict=True))
    contents = {
        "probabilities": rule,
        "points": OperatingPoints("MEL", "screening", points, rule.mark),
        "sets": LabelSets(0.1, in_set, dict.fromkeys(spec.labels, 10), rule.mark),
        "refer": Doubts(masks_agree=0.8),
    }
    set_by_hand = {name: Section(content.as_content()) for name, content in contents.items()}
    return {"mask": spec.sections["mask"], **set_by_hand}


def _found(
    cascade: Cascade,
    spec: CascadeSpec,
    image_HWC: NDArray[np.uint8],
    operating_point: str | None = None,
    prevalence: Mapping[str, float] | None = None,
) -> Finding:
    find = Finder(
        spec, "hand-made", "onnxruntime", "fp32",
        operating_point=operating_point, prevalence=prevalence,
    )  # fmt: skip
    small_HWC = network_image(image_HWC, spec.image_size)
    logits = cascade.chain.run(small_HWC, lambda step: None)
    return find(logits, image_HWC.shape[:2], small_HWC)


def _check(name: str, finding: Finding) -> None:
    """Other networks may find something else: then the case needs another seed."""
    codes = () if finding.decision is None else finding.decision.reasons
    expected = {"no_refer": (), "flagged": ("flagged", "set_holds_target"), "no_finding": ()}
    if codes != expected.get(name, (name,)) or (name == "no_finding") != (not finding.top):
        raise SystemExit(f"{name}: the picture shows {codes}, {finding.headline}")


def _write(name: str, image_HWC: NDArray[np.uint8], finding: Finding) -> None:
    _save(name, draw_overlay(image_HWC, finding), finding.headline)


def _save(name: str, drawn_HWC: NDArray[np.uint8], what: str) -> None:
    path = FOLDER / f"{name}.jpg"
    cv2.imwrite(str(path), drawn_HWC[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    print(f"{path.name}: {path.stat().st_size} bytes, {what}")


if __name__ == "__main__":
    main()
