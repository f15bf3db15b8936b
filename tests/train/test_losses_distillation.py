"""Every loss of a student against its teacher, beside NumPy written from the papers' formulas."""

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ckd.contract.errors import UsageError
from ckd.train.losses import Contrast, Hint, Relation, SoftLabels, SourceLoss
from ckd.train.losses.contrast import rows_kept, similarities, sources
from ckd.train.losses.relations import angle_loss, distance_loss, gram_loss
from ckd.train.losses.term import ClassCounts, Term

Array = NDArray[np.float64]

NUM_IMAGES = 3
#: Views of three images, image by image as the loaders lay them out.
BATCH = {
    "turn": torch.arange(4).repeat(NUM_IMAGES),
    "index": torch.tensor([7, 2, 9]).repeat_interleave(4),
}
ROWS = 4 * NUM_IMAGES


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return cast(Array, e / e.sum(axis=1, keepdims=True))


def divergence(student: Array, teacher: Array, temperature: float) -> float:
    p, q = softmax(student / temperature), softmax(teacher / temperature)
    return float(temperature**2 * (q * np.log(q / p)).sum() / len(p))


def smooth_l1(x: Array) -> float:
    x = np.abs(x)
    return float(np.where(x < 1, 0.5 * x**2, x - 0.5).mean())


def called(term: Term, student: Tensor, teacher: Tensor) -> float:
    tensors = {"s": student, "t": teacher}
    assert set(term.tensors()) == {"s", "t"}
    return term(tensors, BATCH, ClassCounts((), 0)).item()


# Image by image ------------------------------------------------------------------------------


@pytest.mark.parametrize("views", ["upright", "turned", "all"])
def test_soft_labels(views: Any) -> None:
    student, teacher = drawn(ROWS, 5), drawn(ROWS, 5, seed=1)
    turned = np.arange(ROWS) % 4 > 0
    rows = {"upright": ~turned, "turned": turned, "all": turned | True}[views]
    term = SoftLabels(student="s", teacher="t", temperature=4.0, views=views)
    expected = divergence(student.numpy()[rows], teacher.numpy()[rows], 4.0)
    assert called(term, student, teacher) == pytest.approx(expected, rel=1e-5)  # float32


def test_soft_labels_of_views_that_a_batch_lacks_are_nothing() -> None:
    upright = {"turn": torch.zeros(2, dtype=torch.int64)}
    tensors = {"s": drawn(2, 5), "t": drawn(2, 5, seed=1)}
    term = SoftLabels(student="s", teacher="t", views="turned")
    assert term(tensors, upright, ClassCounts((), 0)).item() == 0.0


def test_a_hint_is_the_mean_square() -> None:
    student, teacher = drawn(ROWS, 4, 2, 2), drawn(ROWS, 4, 2, 2, seed=1)
    expected = float(((student - teacher).numpy() ** 2).mean())
    term = Hint(student="s", teacher="t")
    assert called(term, student, teacher) == pytest.approx(expected, rel=1e-5)  # float32


def test_a_hint_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'hint': s is \[12, 4, 2, 2\], t \[12, 4, 3, 3\]"):
        called(Hint(student="s", teacher="t"), drawn(ROWS, 4, 2, 2), drawn(ROWS, 4, 3, 3))


def test_gram_matrices_of_other_channels_are_refused() -> None:
    term = Relation(name="gram", of="gram", student="s", teacher="t")
    with pytest.raises(UsageError, match=r"'gram': s has 4 channels, t 5; expected equally many"):
        called(term, drawn(ROWS, 4, 2, 2), drawn(ROWS, 5, 2, 2))


# Relations -----------------------------------------------------------------------------------


def distances(x: Array) -> Array:
    lengths = np.linalg.norm(x[:, None] - x[None], axis=2)
    return cast(Array, lengths / lengths[lengths > 0].mean())


def angles(x: Array) -> Array:
    difference = x[None] - x[:, None]
    length = np.linalg.norm(difference, axis=2, keepdims=True)
    unit = np.divide(difference, length, out=np.zeros_like(difference), where=length > 0)
    return cast(Array, np.einsum("ijc,ikc->ijk", unit, unit))


def gram(x: Array) -> Array:
    return cast(Array, x @ x.transpose(0, 2, 1) / (x.shape[1] * x.shape[2]))


def test_distances_and_angles() -> None:
    student, teacher = drawn(6, 4), drawn(6, 9, seed=1)
    student[3] = student[5]  # as of one image twice in a batch
    expected = smooth_l1(distances(student.numpy()) - distances(teacher.numpy()))
    assert distance_loss(student, teacher).item() == pytest.approx(expected, rel=1e-12)
    expected = smooth_l1(angles(student.numpy()) - angles(teacher.numpy()))
    assert angle_loss(student, teacher).item() == pytest.approx(expected, rel=1e-12)


def test_angles_do_not_depend_on_the_chunks() -> None:
    def value_and_gradient(**settings: int) -> tuple[float, Tensor]:
        student = drawn(7, 4).requires_grad_()
        loss = angle_loss(student, drawn(7, 9, seed=1), **settings)
        loss.backward()  # type: ignore[no-untyped-call]
        assert student.grad is not None
        return loss.item(), student.grad

    whole, gradient = value_and_gradient()
    by_chunks, gradient_by_chunks = value_and_gradient(max_triplets=2 * 7 * 7)
    assert by_chunks == pytest.approx(whole, rel=1e-12)
    torch.testing.assert_close(gradient_by_chunks, gradient, rtol=1e-10, atol=1e-14)


def test_the_gram_term_and_its_gradient() -> None:
    student, teacher = drawn(3, 5, 4).requires_grad_(), drawn(3, 5, 6, seed=1)
    loss = gram_loss(student, teacher)
    direct = ((student @ student.mT / 20 - teacher @ teacher.mT / 30) ** 2).mean().sqrt()
    expected = np.sqrt(((gram(student.detach().numpy()) - gram(teacher.numpy())) ** 2).mean())
    assert loss.item() == pytest.approx(expected, rel=1e-10)
    gradients = [torch.autograd.grad(value, student)[0] for value in (loss, direct)]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-12)


def test_the_gram_matrix_of_one_channel_is_its_mean_square() -> None:
    student, teacher = torch.full((1, 1, 4), 3.0), torch.tensor([[[1.0, -1.0, 0.0, 2.0]]])
    assert gram_loss(student, teacher).item() == pytest.approx(9.0 - 6.0 / 4, rel=1e-12)


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_relations_know_no_scale_place_or_direction(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    features = drawn(6, 4)
    turned = 3.0 * features @ torch.linalg.qr(drawn(4, 4, seed=1))[0] + drawn(1, 4, seed=2)
    assert loss(turned, features).item() < 1e-24


@pytest.mark.parametrize("of", ["distances", "angles", "gram"])
def test_relations_of_maps_are_exact_beyond_float32_and_autocast(of: Any) -> None:
    student, teacher = drawn(ROWS, 4, 3, 3).float(), drawn(ROWS, 4, 3, 3, seed=1).float()
    term = Relation(name="r", of=of, student="s", teacher="t")
    means = [x.numpy().astype(np.float64).mean(axis=(2, 3)) for x in (student, teacher)]
    flat = [x.flatten(2).numpy().astype(np.float64) for x in (student, teacher)]
    if of == "gram":
        expected = float(np.sqrt(((gram(flat[0]) - gram(flat[1])) ** 2).mean()))
    else:
        related = distances if of == "distances" else angles
        expected = smooth_l1(related(means[0]) - related(means[1]))
    with torch.autocast("cpu", torch.bfloat16):
        assert called(term, student, teacher) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_rows_that_do_not_differ_have_no_relations(
    loss: Callable[[Tensor, Tensor], Tensor], rows: int
) -> None:
    student = torch.ones(rows, 4, requires_grad=True)
    value = loss(student, torch.ones(rows, 3))
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 0.0
    assert student.grad is not None
    assert student.grad.isfinite().all()


# Turned views --------------------------------------------------------------------------------


def cosines(x: Array) -> Array:
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    turned = [i for i in range(ROWS) if i % 4]
    return cast(Array, unit[turned] @ unit[::4].T)


def test_the_source_of_a_view_is_its_own_image() -> None:
    embedding = drawn(ROWS, 5)
    source = np.repeat(np.arange(NUM_IMAGES), 3)
    assert sources(BATCH["index"], BATCH["turn"]).tolist() == source.tolist()
    similarity_NU = similarities(embedding, BATCH["turn"])
    np.testing.assert_allclose(similarity_NU, cosines(embedding.numpy()), atol=1e-6)  # float32
    expected = -np.log(softmax(cosines(embedding.numpy()))[np.arange(9), source]).mean()
    term = SourceLoss(output="e")
    loss = term({"e": embedding}, BATCH, ClassCounts((), 0))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_sources_are_found_in_any_order() -> None:
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))
    shuffled = {key: value[order] for key, value in BATCH.items()}
    embedding, term = drawn(ROWS, 5), SourceLoss(output="e")
    expected = term({"e": embedding}, BATCH, ClassCounts((), 0)).item()
    value = term({"e": embedding[order]}, shuffled, ClassCounts((), 0)).item()
    assert value == pytest.approx(expected, rel=1e-6)


def test_at_chance_the_source_costs_the_logarithm_of_the_batch() -> None:
    turn, index = torch.arange(4).repeat(32), torch.arange(32).repeat_interleave(4)
    tensors = {"e": torch.ones(128, 5)}
    loss = SourceLoss(output="e")(tensors, {"turn": turn, "index": index}, ClassCounts((), 0))
    assert loss.item() == pytest.approx(math.log(32), abs=1e-6)


def test_a_teacher_is_trusted_where_it_is_right_and_in_its_better_mistakes() -> None:
    ranks = [0, 3, 0, 1, 2, 1]  # of the true source among four
    similarity = torch.zeros(len(ranks), 4)
    for row, rank in enumerate(ranks):
        similarity[row] = torch.tensor([0.1 * (c if c <= rank else -c) for c in range(4)])
    source = torch.zeros(len(ranks), dtype=torch.int64)
    # Four are wrong: of these 75 % are kept, not the one that it ranks last.
    kept = rows_kept(similarity, source, 0.75)
    assert kept.tolist() == [True, False, True, True, True, True]
    assert rows_kept(similarity, source, 0.0).tolist() == [rank == 0 for rank in ranks]


def test_contrast() -> None:
    student, teacher = drawn(ROWS, 5), drawn(ROWS, 4, seed=1)
    of_student, of_teacher = cosines(student.numpy()), cosines(teacher.numpy())
    source = np.repeat(np.arange(NUM_IMAGES), 3)
    truth = of_teacher[np.arange(9), source]
    ranks = (of_teacher > truth[:, None]).sum(axis=1)
    num_wrong = int((ranks > 0).sum())
    assert num_wrong >= 4  # or nothing would be left out
    kept = np.argsort(ranks, kind="stable")[: 9 - num_wrong + int(0.75 * num_wrong)]
    expected = divergence(of_student[kept], of_teacher[kept], 0.5)
    term = Contrast(student="s", teacher="t")
    assert called(term, student, teacher) == pytest.approx(expected, rel=1e-5)


# What holds for all --------------------------------------------------------------------------

TERMS: list[tuple[Term, tuple[int, ...]]] = [
    (SoftLabels(student="s", teacher="t"), (ROWS, 5)),
    (Hint(student="s", teacher="t"), (ROWS, 5, 2, 2)),
    (Contrast(student="s", teacher="t"), (ROWS, 5)),
    *(
        (Relation(name="r", of=of, student="s", teacher="t"), (ROWS, 5, 2, 2))
        for of in ("distances", "angles", "gram")
    ),
]


@pytest.mark.parametrize(("term", "shape"), TERMS)
def test_a_student_like_its_teacher_has_no_loss_and_a_finite_gradient(
    term: Term, shape: tuple[int, ...]
) -> None:
    teacher = drawn(*shape).float().relu()
    student = teacher.clone().requires_grad_()
    loss = term({"s": student, "t": teacher}, BATCH, ClassCounts((), 0))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0.0, abs=2e-6)  # the Gram term's 1e-12 under its root
    assert student.grad is not None
    assert student.grad.isfinite().all()
