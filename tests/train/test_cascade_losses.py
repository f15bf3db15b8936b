"""What one cascade learns from another: values against NumPy, and gradients that stay finite."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ckd.train.losses import AttentionTransfer, SoftMask
from ckd.train.losses.cascade import attention_distance, soft_mask_divergence
from ckd.train.losses.term import ClassCounts

NONE = ClassCounts((), 0)
Reals = NDArray[np.float64]


def divergence(student: Reals, teacher: Reals, temperature: float) -> float:
    p, q = (1 / (1 + np.exp(-x / temperature)) for x in (teacher, student))
    kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return float(kl.mean() * temperature**2)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_divergence_of_soft_masks_is_that_of_coins(temperature: float) -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(0, 3, (2, 2, 1, 8, 8))
    got = soft_mask_divergence(torch.tensor(student), torch.tensor(teacher), temperature)
    assert got.item() == pytest.approx(divergence(student, teacher, temperature), rel=1e-5)


def test_equal_soft_masks_have_nothing_to_teach_at_any_logits() -> None:
    logits = torch.tensor([-300.0, -1.0, 0.0, 5.0, 300.0], requires_grad=True)
    loss = soft_mask_divergence(logits, logits.detach())
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    apart = soft_mask_divergence(torch.tensor([-300.0]), torch.tensor([300.0]))
    assert apart.item() == pytest.approx(300.0)


def test_attention_maps_are_compared_by_shape_not_by_strength_or_channels() -> None:
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 7, 4, 5))

    def unit(x_BCHW: Reals) -> Reals:
        map_BT = (x_BCHW**2).sum(axis=1).reshape(len(x_BCHW), -1)
        return np.asarray(map_BT / np.linalg.norm(map_BT, axis=1, keepdims=True))

    expected = ((unit(student) - unit(teacher)) ** 2).sum(axis=1).mean()
    got = attention_distance(torch.tensor(student), torch.tensor(teacher))
    assert got.item() == pytest.approx(expected, rel=1e-5)
    scaled = attention_distance(torch.tensor(3 * teacher), torch.tensor(teacher))
    assert scaled.item() == pytest.approx(0.0, abs=1e-12)


def test_maps_without_any_attention_give_a_finite_gradient() -> None:
    still = torch.zeros(1, 2, 3, 3, requires_grad=True)
    attention_distance(still, torch.ones(1, 2, 3, 3)).backward()  # type: ignore[no-untyped-call]
    assert still.grad is not None
    assert still.grad.isfinite().all()


def test_the_terms_take_what_they_name() -> None:
    torch.manual_seed(0)
    tensors = {name: torch.randn(2, 3, 4, 4) for name in ("a", "b", "teacher_a", "teacher_b")}
    mask = SoftMask(student="a", teacher="teacher_a", temperature=2.0)
    expected = soft_mask_divergence(tensors["a"], tensors["teacher_a"], 2.0)
    assert mask(tensors, {}, NONE).item() == expected.item()
    attention = AttentionTransfer(pairs=(("a", "teacher_a"), ("b", "teacher_b")))
    each = [attention_distance(tensors[n], tensors[f"teacher_{n}"]) for n in ("a", "b")]
    got = attention(tensors, {}, NONE).item()
    assert got == pytest.approx((each[0] + each[1]).item() / 2)
    assert attention.tensors() == ("a", "teacher_a", "b", "teacher_b")
