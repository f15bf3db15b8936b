"""A cascade on an encoder of timm, from recipe to bundle."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from torch import nn

from ckd.contract.labels import ISIC2017
from ckd.contract.spec import OutputSpec
from ckd.export.bundle import write_bundle
from ckd.export.parity import parity_images
from ckd.runtime import Cascade
from ckd.train.folds import folded
from ckd.train.networks.encoder import Encoder
from ckd.train.recipes.catalogue import find_recipe
from ckd.train.recipes.text import with_overrides
from ckd.train.systems.graph import System


def thinned(system: System) -> System:
    """Without the repeated blocks of every stage, which only make the exporter slow."""
    for encoder in [part for part in system.modules() if isinstance(part, Encoder)]:
        for stage in list(encoder.stages)[1:]:
            assert isinstance(stage, nn.Sequential)
            for index in reversed(range(len(stage))):
                if getattr(stage[index], "has_skip", False):
                    del stage[index]
    return system


@pytest.mark.system
def test_a_cascade_on_efficientnet_lite_learns_and_is_exported(tmp_path: Path) -> None:
    """One step of the whole cascade, so that no statistic and no scalar is at its birth."""
    torch.manual_seed(0)
    recipe = with_overrides(find_recipe("ckdnet-tiny"), ["system.backbone=tf_efficientnet_lite0"])
    system = thinned(recipe.system.build(ISIC2017, recipe.tasks, recipe.image_size, None)).train()
    images_NSS3 = parity_images(recipe.image_size, 4)
    optimiser = torch.optim.SGD(system.parameters(), lr=1e-3)
    tensors = system(torch.from_numpy(images_NSS3))
    sum(tensors[name].square().mean() for name in system.outputs.names()).backward()
    assert all(part.grad is not None for part in system.parameters())
    optimiser.step()

    encoders = [part for part in folded(system).modules() if isinstance(part, Encoder)]
    assert not any(isinstance(m, nn.BatchNorm2d) for e in encoders for m in e.modules())
    # The fine network has the coarse one's encoder again, which would take as long once more.
    half = system.with_nodes(system.nodes[:2], OutputSpec("logits", "coarse_logits"))
    # Every tensor of the chain is compared with PyTorch's before anything is written.
    write_bundle(half, tmp_path / "lite", name="lite", provenance={"data": "none"})
    with Cascade.load(tmp_path / "lite", "onnxruntime", "cpu") as cascade, torch.no_grad():
        got = cascade.chain.run_all(images_NSS3[0])["logits"]
        expected = system.eval()(torch.from_numpy(images_NSS3[:1]))["logits"].numpy()
    assert float(np.abs(got - expected).max()) <= 1e-3 * float(expected.std())
