"""What people read of a finding: the decision first, and what percentages rest on.

Suffixes: H rows, W columns, C channels in RGB order.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from findings import made_finding
from numpy.typing import NDArray

from ckd.finding.decision import CODES, Decision
from ckd.finding.finding import Finding
from ckd.finding.outcome import Reason
from ckd.finding.overlay import draw_overlay, drawable
from ckd.finding.sentences import percent_shown
from ckd.runtime.live import Shown, Status
from ckd.runtime.live.web_board import Board
from ckd.runtime.live.window import window_picture
from ckd.runtime.sinks import Drawn, print_finding
from ckd.runtime.sources import Frame

REFERRED = Decision("screening", "MEL", True, ("MEL", "NEV"), 0.1, ("flagged", "set_holds_target"))
CALM = Decision("screening", "MEL", False, ("NEV",), 0.1, ())
FITTED = {"MEL": 0.19, "SBK": 0.13, "NEV": 0.68}
SENTENCES = {
    "en": (
        "Referral suggested",
        "melanoma 87 %, where 19 % are melanoma",
        "The probability of melanoma reaches the threshold.",
        "It may be melanoma.",
        "Possible: melanoma, nevus (such lists hold the right one in 90 %).",
        "Operating point: specific (default: screening).",
        "The prevalence was chosen; it changes no decision.",
    ),
    "de": (
        "Überweisung vorgeschlagen",
        "Melanom 87 %, wenn 19 % der Aufnahmen Melanom zeigen",
        "Die Wahrscheinlichkeit für Melanom erreicht die Schwelle.",
        "Melanom ist möglich.",
        "Möglich: Melanom, Nävus (solche Listen enthalten in 90 % der Fälle das Richtige).",
        "Arbeitspunkt: specific (Voreinstellung: screening).",
        "Die Häufigkeit wurde gewählt; sie ändert keine Entscheidung.",
    ),
}


def decided(decision: Decision | None = REFERRED, **others: Any) -> Finding:
    said = {"MEL": 0.87, "SBK": 0.03, "NEV": 0.10}
    finding = made_finding(None, None, said)
    return replace(finding, **{"prevalence": FITTED, "decision": decision, **others})


def picture(height: int = 480, width: int = 640) -> NDArray[np.uint8]:
    return np.full((height, width, 3), (200, 150, 120), np.uint8)


@pytest.mark.parametrize("size_hw", [(480, 640), (720, 1280), (1080, 1920), (3000, 4000)])
@pytest.mark.parametrize("language", ["en", "de"])
def test_all_letters_stand_on_the_dark_panel(
    size_hw: tuple[int, int], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CKD_LANGUAGE", language)
    image_HWC = picture(*size_hw)
    changed_HW = (draw_overlay(image_HWC, decided()) != image_HWC).any(-1)
    panel_px = int(changed_HW[0].sum())
    assert changed_HW[0, :panel_px].all()
    assert 0.2 * size_hw[1] < panel_px < size_hw[1]
    assert not changed_HW[:, panel_px:].any()


def shown(finding: Finding) -> Shown:
    return Shown(Frame(picture(), 7, 0.0), finding, Drawn(picture))


def chosen() -> Finding:
    other = replace(REFERRED, operating_point="specific", instead_of="screening")
    return decided(other, is_prevalence_chosen=True)


@pytest.mark.parametrize("language", SENTENCES)
def test_every_view_says_the_same_in_the_same_order(
    language: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CKD_LANGUAGE", language)
    headline, second, *beneath = SENTENCES[language]
    finding = chosen()
    assert (finding.headline, finding.second, [*finding.beneath]) == (headline, second, beneath)
    print_finding("case.jpg", finding, as_json=False)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith(f"case.jpg  {headline}  {second}  lesion ")
    assert [line.strip() for line in rest] == beneath
    board = Board("test", None, 640)
    board.publish(Status(state="live"), shown(finding))
    page = board.state()["result"]
    assert [page["headline"], page["second"], *page["beneath"]] == [*SENTENCES[language]]
    assert "19 %" in page["basis"]
    for said in (written_on_overlay(finding, monkeypatch), written_in_window(finding, monkeypatch)):
        place = 0
        for word in " ".join(map(drawable, SENTENCES[language])).split():
            place = said.find(word, place)
            assert place >= 0, (word, said)


def written_on_overlay(finding: Finding, monkeypatch: pytest.MonkeyPatch) -> str:
    return written(monkeypatch, lambda: draw_overlay(picture(), finding))


def written_in_window(finding: Finding, monkeypatch: pytest.MonkeyPatch) -> str:
    live = Status(state="live")
    return written(
        monkeypatch, lambda: window_picture(live, shown(finding), frozen=False, message="")
    )


def written(monkeypatch: pytest.MonkeyPatch, draw: Callable[[], object]) -> str:
    """Everything that a drawing writes, in the order in which it does."""
    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "putText", lambda canvas, text, *_: said.append(text))
        draw()
    return " ".join(said)


def test_by_default_nothing_is_said_of_choices_and_an_empty_set_is_said_once() -> None:
    assert decided(CALM).headline == "No referral suggested"
    assert decided(CALM).beneath == ("Possible: nevus (such lists hold the right one in 90 %).",)
    empty = replace(REFERRED, flagged=False, label_set=(), reasons=("set_empty",))
    assert decided(empty).beneath == ("None of the trained classes fits.",)
    without = replace(CALM, label_set=None, error_rate=None)
    assert decided(without).beneath == ()


def test_without_a_finding_there_is_neither_decision_nor_percentage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = made_finding(None, None, {}, reason=Reason("no_skin"))
    assert (finding.second, finding.beneath, finding.basis_shown) == ("", (), "")
    print_finding("case.jpg", finding, as_json=False)
    out = capsys.readouterr().out
    assert out.startswith("case.jpg  This does not look like a photograph of skin.  lesion 0 px")
    assert len(out.splitlines()) == 1
    for said in (
        written_on_overlay(finding, monkeypatch), written_in_window(finding, monkeypatch), out
    ):  # fmt: skip
        assert "Referral" not in said
        assert "%" not in said


def test_a_percentage_that_rests_on_nothing_is_called_a_score(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = decided(None, prevalence=None)
    assert (finding.headline, finding.second) == ("melanoma", "melanoma 87 % (a score)")
    print_finding("case.jpg", finding, as_json=False)
    assert capsys.readouterr().out.startswith("case.jpg  melanoma 87 % (a score)  lesion ")
    assert "melanoma 87 % (a score) nevus 10 %" in written_on_overlay(finding, monkeypatch)
    assert "Scores of the networks" in written_in_window(finding, monkeypatch)
    # With probabilities and without operating points they rest on the label's own prevalence.
    likely = {"MEL": 0.1, "SBK": 0.1, "NEV": 0.8}
    alone = decided(None, probabilities=likely)
    assert alone.second == "nevus 80 %, where 68 % are nevus"
    # The decision's target is what matters, whichever label is most probable.
    assert decided(CALM, probabilities=likely).second == "nevus 80 %, where 19 % are melanoma"


def test_where_no_label_is_likely_the_decision_still_comes_first() -> None:
    none = decided(REFERRED, probabilities={"MEL": 0.4, "SBK": 0.3}, exclusive=False)
    assert (none.headline, none.second) == ("Referral suggested", "none of MEL, SBK")


@pytest.mark.parametrize(
    ("share", "english", "german"),
    [
        (0.0, "0 %", "0 %"),
        (1e-7, "<0.01 %", "<0,01 %"),
        (0.0021, "0.21 %", "0,21 %"),
        (0.02, "2 %", "2 %"),
        (0.094, "9.4 %", "9,4 %"),
        (0.096, "10 %", "10 %"),
        (0.8749, "87 %", "87 %"),
        (0.9949, "99.5 %", "99,5 %"),
        (0.99999, ">99.9 %", ">99,9 %"),
        (1.0, "100 %", "100 %"),
    ],
)
def test_a_percentage_is_never_more_certain_than_its_share(
    share: float, english: str, german: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert percent_shown(share) == english
    monkeypatch.setenv("CKD_LANGUAGE", "de")
    assert percent_shown(share) == german


@pytest.mark.parametrize(("height", "width"), [(160, 160), (480, 640), (1080, 1920)])
def test_all_sentences_fit_the_overlay(height: int, width: int) -> None:
    most = replace(REFERRED, instead_of="balanced", reasons=CODES)
    finding = decided(most, is_prevalence_chosen=True)
    changed_HW = (draw_overlay(picture(height, width), finding) != picture(height, width)).any(2)
    assert not changed_HW[:, -1].any()
    assert not changed_HW[-1].any()
    calm_HW = (draw_overlay(picture(height, width), decided(CALM)) != picture(height, width)).any(2)
    assert changed_HW.sum() > 1.5 * calm_HW.sum()


@pytest.mark.parametrize("num_labels", [3, 8])
def test_the_window_leaves_room_for_the_notice(num_labels: int) -> None:
    """What is found may be long; the last line of the panel stays the same."""
    labels = [f"L{number}" for number in range(num_labels)]
    said = dict.fromkeys(labels, 1 / num_labels)
    most = replace(REFERRED, target="L0", label_set=tuple(labels), reasons=CODES)
    long = decided(
        replace(most, instead_of="balanced"),
        probabilities=said, prevalence=said, is_prevalence_chosen=True,
    )  # fmt: skip
    calm_HWC, long_HWC = (
        window_picture(Status(state="live"), shown(finding), frozen=False, message="")[-50:, -340:]
        for finding in (decided(CALM), long)
    )
    np.testing.assert_array_equal(calm_HWC, long_HWC)
