"""Mean and deviation of the pixels that encoders pretrained on ImageNet were trained with."""

from typing import Final

#: For pixels scaled to [0, 1], in RGB order (as in CKDNet's code).
IMAGENET_MEAN_C: Final = (0.485, 0.456, 0.406)
IMAGENET_STD_C: Final = (0.229, 0.224, 0.225)
