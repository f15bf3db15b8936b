"""Parts of a model card are replaced one by one, in their places."""

from ckd.contract.card import with_part, without_part

CARD = "# Card\n\n## A\n\na\n\n## What INT8 costs\n\nb\n"


def test_a_part_is_put_at_the_end_and_later_in_its_own_place() -> None:
    assert with_part("", "T", "text") == "## T\n\ntext\n"
    assert with_part("# Card\na", "T", "\ntext\n") == "# Card\na\n\n## T\n\ntext\n"
    once = with_part(CARD, "T", "text")
    assert once == f"{CARD}\n## T\n\ntext\n"
    assert with_part(once, "A", "new\n") == once.replace("\n\na\n", "\n\nnew\n")
    assert with_part(once, "T", "new") == once.replace("text", "new")


def test_a_part_that_is_taken_out_takes_none_that_follows_it() -> None:
    """What a bundle says of its float files holds after it is quantised anew."""
    assert without_part(CARD, "T") == CARD
    assert without_part(CARD, "A") == "# Card\n\n## What INT8 costs\n\nb\n"
    half = with_part(CARD, "Weights in half precision", "c")
    assert without_part(half, "What INT8 costs") == (
        "# Card\n\n## A\n\na\n\n## Weights in half precision\n\nc\n"
    )
    assert without_part("## A\n\na", "A") == "\n"
