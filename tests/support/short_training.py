"""Commands of a training that takes seconds: three stages of tiny networks on generated images."""

import sys
from pathlib import Path

COMMAND = Path(sys.executable).with_name("ckd-train")
START: tuple[str | Path, ...] = (
    COMMAND,
    *["data", "generate", "D", "--num-train", "8", "--num-val", "4", "--side-px", "64"],
)
SETTINGS = (
    "system.rootseg_width=8",
    "system.rootseg_low_width=4",
    "system.entangle_widths=[8,8,8,8]",
    "system.decoder_widths=[16,12,8,8,4]",
    "stages.rootseg.batch_size=4",
    "stages.cls.batch_size=4",
    "stages.seg.batch_size=4",
    "stages.cls.epochs=3",
    "stages.seg.epochs=1",
)
TRAIN: tuple[str | Path, ...] = (
    COMMAND,
    *["fit", "--recipe", "ckdnet-tiny", "--data", "D", "--weights", "none", "--accelerator", "cpu"],
    *(part for setting in SETTINGS for part in ("--set", setting)),
)
