"""The gate: the chained ONNX graphs say what PyTorch says, or nothing is released."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from ckd.contract.errors import GateFailed
from ckd.contract.wiring import IMAGE
from ckd.export.parity import (
    TOLERANCE,
    TensorParity,
    case_images,
    check_parity,
    expected_tensors,
    parity_images,
    surest,
    torch_tensors,
)
from ckd.runtime import Cascade
from ckd.train.folds import folded
from ckd.train.systems.graph import System


@pytest.fixture
def cascade(tiny_bundle: Path) -> Iterator[Cascade]:
    with Cascade.load(tiny_bundle, num_threads=1) as cascade:
        yield cascade


@pytest.fixture
def system(make_tiny_system: Callable[[], System]) -> System:
    return make_tiny_system()


def expected(system: System, images_NSS3: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
    return expected_tensors(system, folded(system), images_NSS3)


def test_parity_images_are_always_the_same_photographs() -> None:
    images = parity_images(32, 3)
    assert images.shape == (3, 32, 32, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, parity_images(32, 3))
    assert images.std() > 10
    assert (images[0] != images[1]).any()


def test_cases_are_those_that_a_system_is_surest_of(system: System) -> None:
    """So that an engine which decides one otherwise is at fault, and not a threshold nearby."""
    images = case_images(system)
    assert len(images) == 4
    pool = parity_images(system.image_size, 48)
    name = system.outputs.class_logits
    assert name is not None
    said_NK = torch.from_numpy(torch_tensors(system, pool)[name]).softmax(dim=1).numpy()
    cases_NK = torch.from_numpy(torch_tensors(system, images)[name]).softmax(dim=1).numpy()
    np.testing.assert_allclose(cases_NK.max(axis=0), said_NK.max(axis=0), atol=1e-6)
    assert len(np.unique(images, axis=0)) == 4
    system.outputs = replace(system.outputs, class_logits=None)
    np.testing.assert_array_equal(case_images(system), pool[:4])


def test_the_surest_of_each_label_come_before_the_second_surest() -> None:
    said_NK = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    assert surest(said_NK, 4) == [0, 1, 2, 3]
    assert surest(said_NK, 3) == [0, 1, 2]
    one_for_both_NK = np.array([[0.4, 0.2], [0.9, 0.9], [0.5, 0.3]])
    assert surest(one_for_both_NK, 2) == [1, 2]


def test_pytorch_gives_every_tensor_of_the_graph(system: System, cascade: Cascade) -> None:
    system.train()
    tensors = torch_tensors(system, parity_images(32))
    assert not system.training
    assert set(tensors) == set(cascade.spec.shapes) - {IMAGE}
    for name, tensor in tensors.items():
        assert tensor.shape == (4, *cascade.spec.shapes[name][1:])
        assert tensor.dtype == np.float32


def test_the_chain_says_what_pytorch_says(system: System, cascade: Cascade) -> None:
    images = parity_images(32)
    report = check_parity(cascade, images, expected(system, images))
    assert {entry.tensor for entry in report} == set(cascade.spec.shapes) - {IMAGE}
    for entry in report:
        assert entry.relative < 1e-3, entry
        assert entry.spread > 1e-3, entry


@pytest.mark.parametrize(
    ("weight", "first_tensor"),
    [
        ("rootseg.decode.3.bias", "coarse_logits"),
        ("rootseg.encoder.stages.2.0.0.weight", "coarse_logits"),
        ("cls.classify.fc.bias", "logits"),
        ("cls.attention.delta", "logits"),
        ("seg_encoder.entangle.1.bias", "h2"),
        ("seg_decoder.knowledge.0.mu", "mask_logits"),
        ("seg_decoder.out.bias", "mask_logits"),
    ],
)
def test_one_changed_weight_closes_the_gate(
    system: System, cascade: Cascade, weight: str, first_tensor: str
) -> None:
    images = parity_images(32)
    with torch.no_grad():
        system.networks.get_parameter(weight).add_(0.05)
    with pytest.raises(GateFailed, match=rf"^{first_tensor}: .*nothing was written$"):
        check_parity(cascade, images, expected(system, images))


def test_a_changed_image_mean_closes_the_gate(system: System, cascade: Cascade) -> None:
    system.image_input.mean_C += 2.0
    images = parity_images(32)
    with pytest.raises(GateFailed, match="differs from PyTorch by"):
        check_parity(cascade, images, expected(system, images))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_chain_that_gives_no_numbers_closes_the_gate(
    system: System, cascade: Cascade, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = parity_images(32)
    wanted = expected(system, images)
    run = cascade.chain.run_all

    def broken(image: np.ndarray) -> dict[str, np.ndarray]:
        tensors = run(image)
        tensors["mean3"][...] = value
        return tensors

    monkeypatch.setattr(cascade.chain, "run_all", broken)
    with pytest.raises(GateFailed, match=r"^mean3: "):
        check_parity(cascade, images, wanted)


def test_the_tolerance_is_in_standard_deviations(system: System, cascade: Cascade) -> None:
    images = parity_images(32)
    wanted = dict(expected(system, images))
    wanted["logits"] = wanted["logits"] + 0.5 * TOLERANCE["fp32"] * wanted["logits"].std()
    check_parity(cascade, images, wanted)
    wanted["logits"] = wanted["logits"] + 1.0 * TOLERANCE["fp32"] * wanted["logits"].std()
    with pytest.raises(GateFailed, match=r"^logits: "):
        check_parity(cascade, images, wanted)
    check_parity(cascade, images, wanted, tolerance=2 * TOLERANCE["fp32"])


def test_a_constant_tensor_has_a_finite_error() -> None:
    assert TensorParity("t", 0.0, 0.0).relative == 0.0
    assert TensorParity("t", 0.5, 2.0).relative == 0.25
