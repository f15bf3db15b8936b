"""Inference-time algebra: the same answers from fewer operations.

Each fold replaces a sub-module of a trained network by one that is equal in exact arithmetic. The
tensors between the networks keep their names and shapes, but CKDNet's h1..h4 and CLNet's c0..s4
change meaning, as batch normalisation of the next network is folded into them. A fold is left out
where it would not be equal.
"""

import copy

import torch

from ckd.train.folds.aspp import fold_aspp
from ckd.train.folds.attention import fold_channel_attention
from ckd.train.folds.batch_norm import fold_batch_norms
from ckd.train.folds.decoder import fold_decoder, fold_knowledge
from ckd.train.folds.exported import TORCH_DTYPES, ExportedNode, example_inputs
from ckd.train.folds.fusion import fold_fusion
from ckd.train.networks.cls import Cls
from ckd.train.networks.fusion import Fusion, FusionEncoder
from ckd.train.networks.macs import macs_of
from ckd.train.networks.rootseg import RootSeg
from ckd.train.networks.seg import SegDecoder, SegEncoder
from ckd.train.systems.graph import System

__all__ = ["TORCH_DTYPES", "ExportedNode", "count_macs", "example_inputs", "folded"]


@torch.no_grad()
def folded(system: System) -> System:
    """A copy of a trained system in evaluation mode, with every fold applied that is equal there.

    In networks of other systems, only batch normalisations are folded.
    """
    copied = copy.deepcopy(system).eval()
    networks = list(copied.modules())  # also those inside fused nodes
    encoders = [network for network in networks if isinstance(network, SegEncoder)]
    for network in networks:
        match network:
            case RootSeg() as rootseg:
                side = getattr(rootseg.shrink, "side_px", system.image_size)
                fold_aspp(rootseg, deep_px=side // 32)
            case Cls() as cls:
                fold_channel_attention(cls)
            case SegDecoder() as decoder:
                if len(encoders) == 1:
                    fold_knowledge(encoders[0], decoder)
                fold_decoder(decoder)
            case Fusion() as fusion:
                halves = [network for network in networks if isinstance(network, FusionEncoder)]
                if len(halves) == 2:
                    fold_fusion(halves, fusion)
    fold_batch_norms(copied)
    return copied


def count_macs(system: System) -> int:
    """Multiply-accumulates of one image, see `macs_of`."""
    side = system.image_size
    image = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    return macs_of(lambda: system.eval()(image))
