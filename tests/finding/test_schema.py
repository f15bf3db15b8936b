"""Every writer of findings writes what `docs/finding.schema.json` says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from findings import made_finding
from numpy.typing import NDArray

from ckd.finding.capture import Capture
from ckd.finding.decision import Decision
from ckd.finding.files import save_finding
from ckd.finding.finding import Finding
from ckd.finding.outcome import Reason
from ckd.finding.pooled import Pooled
from ckd.picture.folders import photographs_in
from ckd.runtime.live import Shown, Status, save_snapshot
from ckd.runtime.live.web_board import Board
from ckd.runtime.sinks import Drawn, print_finding
from ckd.runtime.sources import Frame

jsonschema = pytest.importorskip("jsonschema")

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "finding.schema.json").read_text())


def check(record: Any) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(record)


def findings() -> dict[str, Finding]:
    mask_HW = np.zeros((40, 60), np.bool_)
    mask_HW[10:30, 10:40] = True
    mask_HW[15:20, 15:20] = False
    empty_HW = np.zeros_like(mask_HW)
    said = {"MEL": 0.2, "SBK": 0.1, "NEV": 0.7}
    answer = made_finding(mask_HW, mask_HW, said, quality={"lesion_fraction": 0.2})
    prevalence = {"MEL": 0.2, "SBK": 0.1, "NEV": 0.7}
    calm = Decision("screening", "MEL", False, ("NEV",), 0.1, ())
    return {
        "answer": answer,
        "not referred": replace(answer, prevalence=prevalence, decision=calm),
        "referred": replace(
            answer, prevalence=prevalence,
            decision=replace(calm, flagged=True, label_set=(), reasons=("flagged", "set_empty")),
        ),
        "without sets": replace(
            answer, prevalence=prevalence, decision=replace(calm, label_set=None, error_rate=None)
        ),
        "out of time": replace(
            made_finding(None, mask_HW, {}), left_out=("diagnosis", "fine_mask"), late_ms=3.5
        ),
        "pooled": replace(
            answer, pooled=Pooled(12, True, 0.02), capture=Capture((), {"focus": 1.5}), late_ms=0.0
        ),
        "held": replace(
            answer, pooled=Pooled(12, True, 0.02, 0.5), capture=Capture(("motion", "glare"))
        ),
        "cannot judge": replace(
            answer, mask_HW=empty_HW, coarse_mask_HW=empty_HW, probabilities={},
            reason=Reason("cannot_judge", "glare"), capture=Capture(("glare",), {"glare": 0.3}),
        ),
        "no mask": made_finding(None, None, said),
        "coarse only": made_finding(None, mask_HW, {}),
        "none of them": replace(answer, exclusive=False, probabilities={"MEL": 0.2, "SBK": 0.1}),
        "no finding": replace(
            answer, mask_HW=empty_HW, coarse_mask_HW=empty_HW, probabilities={},
            reason=Reason("no_skin"),
        ),
    }  # fmt: skip


IMAGE_HWC: NDArray[np.uint8] = np.full((40, 60, 3), 120, np.uint8)


@pytest.mark.parametrize("kind", findings())
def test_every_writer_keeps_to_the_schema(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = findings()[kind]
    check(json.loads(finding.to_json()))
    (tmp_path / "case_explanation.png").touch()  # of an earlier finding
    written = save_finding(finding, tmp_path, "case", IMAGE_HWC, "case.jpg")
    check(json.loads((tmp_path / "case.json").read_text()))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written.values())
    assert photographs_in(tmp_path).files == ()  # of its own results none is a photograph
    print_finding("case.jpg", finding, as_json=True, files=written)
    check(json.loads(capsys.readouterr().out))
    shown = Shown(Frame(IMAGE_HWC, 7, 0.0), finding, Drawn(lambda: IMAGE_HWC))
    overlay = save_snapshot(tmp_path / "live", shown)
    check(json.loads(overlay.with_name(overlay.name.replace("_overlay.png", ".json")).read_text()))
    board = Board("test", None, 640)
    board.publish(Status(state="live"), shown)
    check(board.state()["result"])


NOTHING: dict[str, Any] = {
    "outcome": "no_finding",
    "reason": {"code": "blank", "text": "."},
    "probabilities": None,
    "prevalence": None,
    "top": None,
    "lesion_area_px": 0,
    "outline": [],
}


DECIDED = findings()["referred"].as_dict()


def test_nothing_found_is_what_the_cases_below_differ_from() -> None:
    check({**findings()["answer"].as_dict(), **NOTHING})


@pytest.mark.parametrize(
    "change",
    [
        {**NOTHING, "probabilities": {"MEL": 0.2}},
        {**NOTHING, "top": "MEL"},
        {**NOTHING, "lesion_area_px": 5},
        {**NOTHING, "outline": [{"outer": [[1, 2]], "holes": []}]},
        {**NOTHING, "reason": None},
        {"outline": []},
        {"outline": [{"outer": [], "holes": []}]},
        {"mask_from": None},
        {"reason": {"code": "tired", "text": "."}},
        {"outline": [{"outer": [[1, 2, 3]], "holes": []}]},
        {"schema": 1},
        {"probabilities": None},
        {"diagnosis": "nevus"},
        {**NOTHING, "prevalence": {"MEL": 0.2}},
        {"decision": findings()["referred"].as_dict()["decision"]},  # rests on no prevalence
        {**DECIDED, "decision": {**DECIDED["decision"], "reasons": []}},
        {**DECIDED, "decision": {**DECIDED["decision"], "refer": False}},
        {**DECIDED, "decision": {**DECIDED["decision"], "operating_point": "best"}},
        {**DECIDED, "decision": {**DECIDED["decision"], "label_set": ["MEL", "MEL"]}},
        {**DECIDED, "prevalence": {"MEL": 1.5}},
    ],
)
def test_the_schema_refuses_what_contradicts_itself(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check({**findings()["answer"].as_dict(), **change})
