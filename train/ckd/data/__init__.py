"""Data sets: official layouts, checks, folds, masks, and generated dermoscopy."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.data.agreement import UNDOING
    from ckd.data.captures import FAULTS, MEANINGS, faulty, rng_of, scene
    from ckd.data.check import check_dataset
    from ckd.data.corruptions import CORRUPTIONS, GRADES, corrupted
    from ckd.data.folds import split_fold
    from ckd.data.groups import Group, Traits, groups_of, read_traits, traits_of
    from ckd.data.layouts import read_split, read_unseen
    from ckd.data.masks import read_mask
    from ckd.data.report import DataReport
    from ckd.data.samples import Sample, SampleSet, Split, SplitBy, numbered_as
    from ckd.data.skin_tone import tone_of, typology_angle
    from ckd.data.suspects import Suspect
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.data.agreement": "UNDOING",
            "ckd.data.captures": "FAULTS MEANINGS faulty rng_of scene",
            "ckd.data.check": "check_dataset",
            "ckd.data.corruptions": "CORRUPTIONS GRADES corrupted",
            "ckd.data.folds": "split_fold",
            "ckd.data.groups": "Group Traits groups_of read_traits traits_of",
            "ckd.data.layouts": "read_split read_unseen",
            "ckd.data.masks": "read_mask",
            "ckd.data.report": "DataReport",
            "ckd.data.samples": "Sample SampleSet Split SplitBy numbered_as",
            "ckd.data.skin_tone": "tone_of typology_angle",
            "ckd.data.suspects": "Suspect",
        },
    )

__all__ = [
    "CORRUPTIONS",
    "FAULTS",
    "GRADES",
    "MEANINGS",
    "UNDOING",
    "DataReport",
    "Group",
    "Sample",
    "SampleSet",
    "Split",
    "SplitBy",
    "Suspect",
    "Traits",
    "check_dataset",
    "corrupted",
    "faulty",
    "groups_of",
    "numbered_as",
    "read_mask",
    "read_split",
    "read_traits",
    "read_unseen",
    "rng_of",
    "scene",
    "split_fold",
    "tone_of",
    "traits_of",
    "typology_angle",
]
