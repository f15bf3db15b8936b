"""The losses' values on inputs that can be reckoned by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ckd.contract.labels import ISIC2019
from ckd.scores.images import ImageScore, binary_label_loss
from ckd.train.losses import BinaryLoss, LabelLoss, MaskLoss
from ckd.train.losses.classification import (
    class_weights,
    positive_weights,
    softmax_focal,
    weighted_cross_entropy,
)
from ckd.train.losses.segmentation import Form, binary_focal, soft_dice
from ckd.train.losses.term import ClassCounts

ISIC2017_COUNTS = (374, 254, 1372)  # MEL, SBK, NEV
ISIC2018_COUNTS = (1113, 6705, 514, 327, 1099, 115, 142)  # MEL, NV, BCC, AKIEC, BKL, DF, VASC

#: Logits at which a float32 sigmoid is exactly 0 or 1.
CERTAIN = 200.0


def square(side: int = 20, lesion: int = 10) -> Tensor:
    """A mask of 20x20 pixels with a lesion of 10x10."""
    mask = torch.zeros(1, 1, side, side)
    mask[..., :lesion, :lesion] = 1
    return mask


def sure(mask: Tensor) -> Tensor:
    return CERTAIN * (2 * mask - 1)


# Soft Dice -----------------------------------------------------------------------------------


def test_dice_of_even_odds() -> None:
    loss = soft_dice(torch.zeros(1, 1, 20, 20), square())
    assert loss.item() == pytest.approx(1 - 2 * 51 / 301, abs=1e-6)  # float32
    assert loss.item() == pytest.approx(0.6611295, abs=1e-6)


def test_dice_of_a_perfect_mask_is_clamped_at_zero() -> None:
    assert soft_dice(sure(square()), square()).item() == 0.0


def test_dice_of_nothing_found_where_nothing_is_is_clamped_at_zero() -> None:
    empty = torch.zeros(1, 1, 20, 20)
    assert soft_dice(sure(empty), empty).item() == 0.0


def test_dice_is_averaged_over_images_before_the_clamp() -> None:
    mask = square().repeat(2, 1, 1, 1)
    logits = torch.cat([sure(square()), torch.zeros(1, 1, 20, 20)])
    # The perfect image counts with the -1/201 of the smoothing, not with 0.
    assert soft_dice(logits, mask).item() == pytest.approx((-0.0049751 + 0.6611295) / 2, abs=1e-6)


def dice_focal(logits: Tensor, mask: Tensor, form: Form = "code", weight: float = 1.0) -> Tensor:
    term = MaskLoss(output="mask_logits", form=form, pixel_weight=weight)
    return term({"mask_logits": logits}, {"mask": mask}, ClassCounts((), 0))


def test_dice_is_reckoned_per_image() -> None:
    mask = torch.cat([square(), square(lesion=2)])
    loss = soft_dice(torch.zeros(2, 1, 20, 20), mask)
    one, two = 1 - 2 * 51 / 301, 1 - 2 * 3 / 205
    assert loss.item() == pytest.approx((one + two) / 2, abs=1e-6)


@pytest.mark.parametrize("form", ["code", "paper"])
def test_a_perfect_mask_still_has_a_gradient(form: Form) -> None:
    logits = (4 * (2 * square() - 1)).requires_grad_()
    loss = dice_focal(logits, square(), form)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0


def test_a_clamped_dice_stays_part_of_the_graph() -> None:
    logits = sure(square()).requires_grad_()
    loss = soft_dice(logits, square())
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad.any()


def test_dice_in_the_papers_form_squares_the_denominators() -> None:
    even = torch.zeros(1, 1, 20, 20)
    # 1 - 2 * 50 / (400 / 4 + 100); the code's form would give 0.66.
    assert soft_dice(even, square(), "paper").item() == pytest.approx(0.5, abs=1e-6)
    assert soft_dice(sure(square()), square(), "paper").item() == pytest.approx(0.0, abs=1e-6)
    empty = soft_dice(-CERTAIN + even, even, "paper")
    assert empty.isfinite()


# Focal ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lesion", [1, 10, 19])
def test_focal_of_even_odds_does_not_depend_on_the_lesions_size(lesion: int) -> None:
    loss = binary_focal(torch.zeros(1, 1, 20, 20), square(lesion=lesion))
    assert loss.item() == pytest.approx(0.25 * math.log(2) * 2, abs=1e-6)
    assert loss.item() == pytest.approx(0.3465736, abs=1e-6)


def test_focal_averages_over_the_pixels_of_the_whole_batch() -> None:
    mask = torch.cat([square(lesion=1), square(lesion=3)])
    logits = torch.zeros(2, 1, 20, 20)
    logits[0] = math.log(3)  # p = 3/4 in the first image, 1/2 in the second
    lesion = (1 * math.log(4 / 3) / 16 + 9 * math.log(2) / 4) / 10
    rest = (399 * math.log(4) * 9 / 16 + 391 * math.log(2) / 4) / 790
    assert binary_focal(logits, mask).item() == pytest.approx(lesion + rest, abs=1e-6)


@pytest.mark.parametrize("present", [0.0, 1.0])
def test_a_batch_of_one_kind_of_pixel_has_half_the_loss(present: float) -> None:
    # The authors' code divides by nothing without a lesion: the loss would be 400 times this.
    mask = torch.full((1, 1, 20, 20), present)
    logits = torch.zeros(1, 1, 20, 20, requires_grad=True)
    loss = binary_focal(logits, mask)
    assert loss.item() == pytest.approx(0.25 * math.log(2), abs=1e-6)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("form", ["code", "paper"])
def test_certain_mistakes_cost_a_finite_amount(form: Form) -> None:
    loss = binary_focal(-sure(square()), square(), form)
    # -log of the probability floor 1e-6 for either kind, which float32 knows to a few percent.
    most = 2.0 if form == "code" else 0.25 * 0.25 + 0.75 * 0.75
    assert loss.item() == pytest.approx(most * -math.log(1e-6), rel=0.02)


def test_focal_in_the_papers_form_weights_the_lesion_by_a_quarter() -> None:
    loss = binary_focal(torch.zeros(1, 1, 20, 20), square(), "paper")
    expected = 0.25 * math.log(2) * (0.25 * 100 + 0.75 * 300) / 400
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_focal_without_focus_is_balanced_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 1, 20, 20), square().repeat(2, 1, 1, 1)
    each = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    expected = each[mask == 1].mean() + each[mask == 0].mean()
    assert binary_focal(logits, mask, gamma=0.0).item() == pytest.approx(expected.item(), rel=1e-5)


# Their sum -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["code", "paper", "plain"])
@pytest.mark.parametrize("focal_weight", [0.0, 1.0, 2.5])
def test_the_segmentation_loss_is_dice_plus_weighted_focal(form: Form, focal_weight: float) -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 1, 20, 20), square().repeat(2, 1, 1, 1)
    expected = soft_dice(logits, mask, form) + focal_weight * binary_focal(logits, mask, form)
    assert dice_focal(logits, mask, form, focal_weight).item() == expected.item()


def test_the_segmentation_loss_weighs_both_parts_equally_in_the_codes_form() -> None:
    loss = dice_focal(torch.zeros(1, 1, 20, 20), square())
    assert loss.item() == pytest.approx(0.6611295 + 0.3465736, abs=2e-6)


def test_half_precision_logits_are_summed_in_float32() -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 1, 20, 20).bfloat16(), square().repeat(2, 1, 1, 1)
    loss = dice_focal(logits, mask)
    assert loss.dtype == torch.float32
    assert loss.item() == dice_focal(logits.float(), mask).item()


# Weighted cross-entropy ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (ISIC2017_COUNTS, [0.267380, 0.393701, 0.072886]),
        (
            ISIC2018_COUNTS,
            [0.089847, 0.014914, 0.194553, 0.305810, 0.090992, 0.869565, 0.704225],
        ),
    ],
)
def test_class_weights_are_those_of_the_code(
    counts: tuple[int, ...], expected: list[float]
) -> None:
    assert class_weights(counts) == pytest.approx(expected, abs=5e-7)


def test_class_weights_are_ssdkds_but_for_a_factor_that_cancels() -> None:
    counts = dict(AK=867, BCC=3323, BKL=2624, DF=239, MEL=4522, NV=12875, SCC=628, VASC=253)
    published = [29.217, 7.623, 9.654, 105.987, 5.602, 1.967, 40.336, 100.123]
    assert tuple(counts) == ISIC2019
    total = sum(counts.values())
    scaled = [total / 100 * weight for weight in class_weights(tuple(counts.values()))]
    assert scaled == pytest.approx(published, abs=5e-4)  # rounded to three decimals


def test_a_class_never_seen_has_no_weight() -> None:
    assert class_weights((50, 0, 25)) == (2.0, 0.0, 4.0)


def cross_entropies(logits_BK: Tensor, labels_B: Tensor) -> list[float]:
    return [
        -logits.softmax(0).log()[y].item() for logits, y in zip(logits_BK, labels_B, strict=True)
    ]


def test_weighted_cross_entropy_divides_by_the_weights_or_the_images() -> None:
    torch.manual_seed(0)
    logits_BK, labels_B = torch.randn(4, 3), torch.tensor([0, 2, 2, 1])
    weights = class_weights(ISIC2017_COUNTS)
    each = cross_entropies(logits_BK, labels_B)
    own = [weights[y] for y in labels_B.tolist()]
    summed = sum(w * loss for w, loss in zip(own, each, strict=True))

    code = weighted_cross_entropy(logits_BK, labels_B, weights)
    assert code.item() == pytest.approx(summed / sum(own), rel=1e-5)
    paper = weighted_cross_entropy(logits_BK, labels_B, weights, "paper")
    assert paper.item() == pytest.approx(summed / 4, rel=1e-5)

    # A common factor of the weights cancels in the code's form alone.
    tenfold = [10 * w for w in weights]
    again = weighted_cross_entropy(logits_BK, labels_B, tenfold)
    assert again.item() == pytest.approx(code.item(), rel=1e-5)
    again = weighted_cross_entropy(logits_BK, labels_B, tenfold, "paper")
    assert again.item() == pytest.approx(10 * paper.item(), rel=1e-5)


def test_one_image_costs_the_same_whatever_its_class_weighs() -> None:
    logits_BK, labels_B = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1])
    loss = weighted_cross_entropy(logits_BK, labels_B, (5.0, 0.2, 1.0))
    assert loss.item() == pytest.approx(cross_entropies(logits_BK, labels_B)[0], rel=1e-5)


def test_label_smoothing_spreads_a_share_over_all_classes() -> None:
    logits_BK, labels_B = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([2])
    logs = logits_BK.log_softmax(1)[0]
    expected = -(0.9 * logs[2] + 0.1 * logs.mean())
    loss = weighted_cross_entropy(logits_BK, labels_B, (1.0, 1.0, 1.0), label_smoothing=0.1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_half_precision_class_logits_are_summed_in_float32() -> None:
    logits_BK = torch.tensor([[1.0, 2.0, 4.0]]).bfloat16()
    assert weighted_cross_entropy(logits_BK, torch.tensor([2]), (1.0,) * 3).dtype == torch.float32


def test_plain_dice_and_focal_are_the_textbooks() -> None:
    half = torch.zeros(1, 1, 20, 20)  # p = 0.5 everywhere, 100 of 400 pixels are lesion
    assert soft_dice(half, square(), "plain").item() == pytest.approx(1 - 101 / 301, abs=1e-6)
    empty = torch.zeros(1, 1, 20, 20)
    assert soft_dice(empty - CERTAIN, empty, "plain").item() == 0.0
    focal = binary_focal(half, square(), "plain")
    assert focal.item() == pytest.approx(0.25 * math.log(2), abs=1e-6)


def test_a_mask_loss_can_count_pixels_by_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 1, 20, 20), square().repeat(2, 1, 1, 1)
    term = MaskLoss(output="m", form="plain", pixel="cross_entropy", pixel_weight=0.5)
    expected = soft_dice(logits, mask, "plain")
    expected = expected + 0.5 * F.binary_cross_entropy_with_logits(logits, mask)
    got = term({"m": logits}, {"mask": mask}, ClassCounts((), 0))
    assert got.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("side", "align_corners"), [(15, False), (11, False), (10, True), (5, True)]
)
def test_smaller_logits_are_enlarged_as_the_runtime_does(side: int, align_corners: bool) -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 1, side, side), square().repeat(2, 1, 1, 1)
    enlarged = F.interpolate(logits, (20, 20), mode="bilinear", align_corners=align_corners)
    term = MaskLoss(output="m", form="plain")
    got = term({"m": logits}, {"mask": mask}, ClassCounts((), 0))
    expected = term({"m": enlarged}, {"mask": mask}, ClassCounts((), 0))
    assert got.item() == pytest.approx(expected.item(), rel=1e-6)


# Losses of labels ----------------------------------------------------------------------------


def test_softmax_focal_without_focus_is_cross_entropy() -> None:
    torch.manual_seed(0)
    logits_BK, labels_B = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    expected = F.cross_entropy(logits_BK, labels_B)
    assert softmax_focal(logits_BK, labels_B, 0.0).item() == pytest.approx(
        expected.item(), rel=1e-6
    )
    even = softmax_focal(torch.zeros(1, 4), torch.tensor([2]))
    assert even.item() == pytest.approx(0.75**2 * math.log(4), rel=1e-6)


def test_of_turned_views_only_the_upright_ones_are_labelled() -> None:
    torch.manual_seed(0)
    logits_BK, counts = torch.randn(8, 3), ClassCounts((5, 2, 3), 10)
    batch = {"label": torch.tensor([0, 0, 0, 0, 2, 2, 2, 2]), "turn": torch.arange(8) % 4}
    term = LabelLoss(output="logits", label_smoothing=0.1)
    expected = weighted_cross_entropy(
        logits_BK[[0, 4]], torch.tensor([0, 2]), class_weights((5, 2, 3)), "code", 0.1
    )
    assert term({"logits": logits_BK}, batch, counts).item() == expected.item()


def test_binary_losses_weigh_positives_as_much_as_negatives() -> None:
    counts = ClassCounts((374, 254), 2000)  # ISIC 2017: the others are of neither label
    logits_BK = torch.tensor([[0.3, -1.2], [2.0, 0.1], [-0.7, -0.4]])
    labels_B = torch.tensor([0, 1, 2])  # the third is of none
    # A turned view of an image counts no second time.
    batch = {"label": torch.cat([labels_B, labels_B]), "turn": torch.tensor([0, 0, 0, 1, 2, 3])}
    views_BK = torch.cat([logits_BK, -logits_BK])
    got = BinaryLoss(output="logits")({"logits": views_BK}, batch, counts)

    def each(z: float, positive: bool, balance: float) -> float:
        p = 1 / (1 + math.exp(-z))
        return -balance * math.log(p) if positive else -math.log(1 - p)

    mel, sbk = 1626 / 374, 1746 / 254
    expected = (each(0.3, True, mel) + each(2.0, False, mel) + each(-0.7, False, mel)) / 3
    expected += (each(-1.2, False, sbk) + each(0.1, True, sbk) + each(-0.4, False, sbk)) / 3
    assert got.item() == pytest.approx(expected, rel=1e-6)


def test_the_loss_of_independent_labels_is_watched_as_it_is_trained() -> None:
    counts = ClassCounts((374, 254), 2000)
    logits_BK = torch.tensor([[0.3, -1.2], [2.0, 0.1], [-0.7, -0.4]])
    labels_B = torch.tensor([0, 1, 2])
    scores = [
        ImageScore(str(i), None, None, tuple(torch.sigmoid(logits_K).tolist()), int(label))
        for i, (logits_K, label) in enumerate(zip(logits_BK, labels_B, strict=True))
    ]
    batch = {"label": labels_B, "turn": torch.zeros(len(labels_B), dtype=torch.int64)}
    expected = BinaryLoss(output="logits")({"logits": logits_BK}, batch, counts)
    got = binary_label_loss(scores, positive_weights(counts))
    assert got == pytest.approx(expected.item(), rel=1e-5)
