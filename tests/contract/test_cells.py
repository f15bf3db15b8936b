"""Text in CSV files that a spreadsheet would carry out."""

import pytest

from ckd.contract.cells import cell, uncelled


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "=",
        "-a.jpg",
        "--",
        "'=x",
        "'-1",
    ],
)
def test_a_formula_is_marked_and_can_be_read_back(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert uncelled(f"'{text}") == text


@pytest.mark.parametrize("text", ["", "mole.jpg", "-0.53", "+1", "-1e-3", "'quoted'", "a=b"])
def test_what_is_no_formula_stays(text: str) -> None:
    assert cell(text) == text


@pytest.mark.parametrize("value", [-0.5, 3, None, True])
def test_what_is_no_text_stays(value: object) -> None:
    assert cell(value) is value
