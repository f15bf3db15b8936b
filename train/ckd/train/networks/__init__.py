"""The sub-networks, one file each; `ckd.train.systems` joins them into graphs."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.train.networks.blocks import ChannelAttention, ClassHead, ConvBnRelu, ScSE, resized
    from ckd.train.networks.classifier import Classifier
    from ckd.train.networks.cls import Cls
    from ckd.train.networks.distillation import ConvReg, EmbeddingHead
    from ckd.train.networks.encoder import AnyBackbone, Backbone, build_encoder, check_backbone
    from ckd.train.networks.fusion import Fusion, FusionEncoder, FusionModule
    from ckd.train.networks.image_input import ImageInput, Shrink
    from ckd.train.networks.macs import macs_of
    from ckd.train.networks.multitask import MultiTaskNet
    from ckd.train.networks.plain import PlainClassifier, PlainUNet
    from ckd.train.networks.pretrained import Pretrained, Weights, weight_files
    from ckd.train.networks.rootseg import PooledBranch, RootSeg
    from ckd.train.networks.seg import AttentionBlock, EntangleKnowledge, SegDecoder, SegEncoder
    from ckd.train.networks.state_dict import is_as_long_as_it_says, is_state_dict
    from ckd.train.networks.survey import (
        DEVICE_BACKBONES,
        EncoderCost,
        MeasuredBackbone,
        cost_tree,
        encoder_cost,
        library_of,
        read_measured,
        survey_table,
        survey_tree,
    )
    from ckd.train.networks.timm_encoder import blocks_in_order
    from ckd.train.networks.unet import unet_encoder
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.train.networks.blocks": "ChannelAttention ClassHead ConvBnRelu ScSE resized",
            "ckd.train.networks.classifier": "Classifier",
            "ckd.train.networks.cls": "Cls",
            "ckd.train.networks.distillation": "ConvReg EmbeddingHead",
            "ckd.train.networks.encoder": "AnyBackbone Backbone build_encoder check_backbone",
            "ckd.train.networks.fusion": "Fusion FusionEncoder FusionModule",
            "ckd.train.networks.image_input": "ImageInput Shrink",
            "ckd.train.networks.macs": "macs_of",
            "ckd.train.networks.multitask": "MultiTaskNet",
            "ckd.train.networks.plain": "PlainClassifier PlainUNet",
            "ckd.train.networks.pretrained": "Pretrained Weights weight_files",
            "ckd.train.networks.rootseg": "PooledBranch RootSeg",
            "ckd.train.networks.seg": "AttentionBlock EntangleKnowledge SegDecoder SegEncoder",
            "ckd.train.networks.state_dict": "is_as_long_as_it_says is_state_dict",
            "ckd.train.networks.survey": (
                "DEVICE_BACKBONES EncoderCost MeasuredBackbone cost_tree encoder_cost "
                "library_of read_measured survey_table survey_tree"
            ),
            "ckd.train.networks.timm_encoder": "blocks_in_order",
            "ckd.train.networks.unet": "unet_encoder",
        },
    )

__all__ = [
    "DEVICE_BACKBONES",
    "AnyBackbone",
    "AttentionBlock",
    "Backbone",
    "ChannelAttention",
    "ClassHead",
    "Classifier",
    "Cls",
    "ConvBnRelu",
    "ConvReg",
    "EmbeddingHead",
    "EncoderCost",
    "EntangleKnowledge",
    "Fusion",
    "FusionEncoder",
    "FusionModule",
    "ImageInput",
    "MeasuredBackbone",
    "MultiTaskNet",
    "PlainClassifier",
    "PlainUNet",
    "PooledBranch",
    "Pretrained",
    "RootSeg",
    "ScSE",
    "SegDecoder",
    "SegEncoder",
    "Shrink",
    "Weights",
    "blocks_in_order",
    "build_encoder",
    "check_backbone",
    "cost_tree",
    "encoder_cost",
    "is_as_long_as_it_says",
    "is_state_dict",
    "library_of",
    "macs_of",
    "read_measured",
    "resized",
    "survey_table",
    "survey_tree",
    "unet_encoder",
    "weight_files",
]
