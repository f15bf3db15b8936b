"""What every stage agrees on; NumPy and the standard library, nothing else."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.contract.arrays import read_arrays
    from ckd.contract.binomial import exact_interval
    from ckd.contract.bundle import CASCADE, Bundle, check_new
    from ckd.contract.card import MODEL_CARD, provenance_rows, with_part, without_part
    from ckd.contract.cascade_json import SCHEMA, spec_from_json, spec_to_json
    from ckd.contract.cells import cell, uncelled
    from ckd.contract.confusion import (
        Bools,
        Confusion,
        Reals,
        check_scores,
        confusion_from_masks,
        confusion_from_scores,
        require,
        threshold_jaccard,
    )
    from ckd.contract.disk import (
        is_of_the_disk,
        lasting_folder,
        make_missing,
        naming,
        refusal,
        sync_folder,
        sync_together,
        write_all,
    )
    from ckd.contract.errors import (
        BundleError,
        CkdError,
        EngineError,
        EnvironmentUnusable,
        GateFailed,
        InputError,
        Interrupted,
        SourceUnavailable,
        UsageError,
    )
    from ckd.contract.escapes import printable, printable_tree
    from ckd.contract.fitted_sections import FITTED_SECTIONS, Fitted, read_fitted, write_fitted
    from ckd.contract.hashes import HASHES, SCHEMA_1_HASHES, SIGNATURE, read_hashes, write_hashes
    from ckd.contract.imagenet import IMAGENET_MEAN_C, IMAGENET_STD_C
    from ckd.contract.labels import (
        ISIC2016,
        ISIC2017,
        ISIC2018,
        ISIC2019,
        headline_tasks,
        label_of,
        lesion_name,
    )
    from ckd.contract.learnt import (
        LEARNT_RECORD,
        LEARNT_WEIGHTS,
        Learnt,
        bias_of,
        read_learnt,
        weight_key,
        write_learnt,
    )
    from ckd.contract.leftovers import WRITING, discard, sweep
    from ckd.contract.listed import Content, ListedFiles
    from ckd.contract.parsing import parse_json, parse_toml, read_json, read_toml, toml_text
    from ckd.contract.placement import (
        SIGNED,
        UNSIGNED,
        Grid,
        NetworkPlacement,
        PlacedLayer,
        Placement,
        placement_to_json,
        read_placement,
    )
    from ckd.contract.spec import CascadeSpec, FileKind, NodeSpec, OutputSpec, Section
    from ckd.contract.tensors import DType, TensorSpec
    from ckd.contract.version import DISTRIBUTION, built_from, ckd_version
    from ckd.contract.whole_file import FileGroup, new_folder, replace_file, replacing
    from ckd.contract.wiring import IMAGE, check_wiring
    from ckd.contract.writer_lock import LOCK, one_writer
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.contract.arrays": "read_arrays",
            "ckd.contract.binomial": "exact_interval",
            "ckd.contract.bundle": "Bundle CASCADE check_new",
            "ckd.contract.card": "MODEL_CARD provenance_rows with_part without_part",
            "ckd.contract.cascade_json": "SCHEMA spec_from_json spec_to_json",
            "ckd.contract.cells": "cell uncelled",
            "ckd.contract.confusion": (
                "Bools Confusion Reals check_scores confusion_from_masks "
                "confusion_from_scores require threshold_jaccard"
            ),
            "ckd.contract.disk": (
                "is_of_the_disk lasting_folder make_missing naming refusal sync_folder "
                "sync_together write_all"
            ),
            "ckd.contract.errors": (
                "BundleError CkdError EngineError EnvironmentUnusable GateFailed InputError "
                "Interrupted SourceUnavailable UsageError"
            ),
            "ckd.contract.escapes": "printable printable_tree",
            "ckd.contract.fitted_sections": "FITTED_SECTIONS Fitted read_fitted write_fitted",
            "ckd.contract.hashes": "HASHES SCHEMA_1_HASHES SIGNATURE read_hashes write_hashes",
            "ckd.contract.imagenet": "IMAGENET_MEAN_C IMAGENET_STD_C",
            "ckd.contract.labels": (
                "ISIC2016 ISIC2017 ISIC2018 ISIC2019 headline_tasks label_of lesion_name"
            ),
            "ckd.contract.learnt": (
                "LEARNT_RECORD LEARNT_WEIGHTS Learnt bias_of read_learnt weight_key write_learnt"
            ),
            "ckd.contract.leftovers": "WRITING discard sweep",
            "ckd.contract.listed": "Content ListedFiles",
            "ckd.contract.parsing": "parse_json parse_toml read_json read_toml toml_text",
            "ckd.contract.placement": (
                "Grid NetworkPlacement PlacedLayer Placement SIGNED UNSIGNED "
                "placement_to_json read_placement"
            ),
            "ckd.contract.spec": "CascadeSpec FileKind NodeSpec OutputSpec Section",
            "ckd.contract.tensors": "DType TensorSpec",
            "ckd.contract.version": "DISTRIBUTION built_from ckd_version",
            "ckd.contract.whole_file": "FileGroup new_folder replace_file replacing",
            "ckd.contract.wiring": "IMAGE check_wiring",
            "ckd.contract.writer_lock": "LOCK one_writer",
        },
    )

__all__ = [
    "CASCADE",
    "DISTRIBUTION",
    "FITTED_SECTIONS",
    "HASHES",
    "IMAGE",
    "IMAGENET_MEAN_C",
    "IMAGENET_STD_C",
    "ISIC2016",
    "ISIC2017",
    "ISIC2018",
    "ISIC2019",
    "LEARNT_RECORD",
    "LEARNT_WEIGHTS",
    "LOCK",
    "MODEL_CARD",
    "SCHEMA",
    "SCHEMA_1_HASHES",
    "SIGNATURE",
    "SIGNED",
    "UNSIGNED",
    "WRITING",
    "Bools",
    "Bundle",
    "BundleError",
    "CascadeSpec",
    "CkdError",
    "Confusion",
    "Content",
    "DType",
    "EngineError",
    "EnvironmentUnusable",
    "FileGroup",
    "FileKind",
    "Fitted",
    "GateFailed",
    "Grid",
    "InputError",
    "Interrupted",
    "Learnt",
    "ListedFiles",
    "NetworkPlacement",
    "NodeSpec",
    "OutputSpec",
    "PlacedLayer",
    "Placement",
    "Reals",
    "Section",
    "SourceUnavailable",
    "TensorSpec",
    "UsageError",
    "bias_of",
    "built_from",
    "cell",
    "check_new",
    "check_scores",
    "check_wiring",
    "ckd_version",
    "confusion_from_masks",
    "confusion_from_scores",
    "discard",
    "exact_interval",
    "headline_tasks",
    "is_of_the_disk",
    "label_of",
    "lasting_folder",
    "lazy_names",
    "lesion_name",
    "make_missing",
    "naming",
    "new_folder",
    "one_writer",
    "parse_json",
    "parse_toml",
    "placement_to_json",
    "printable",
    "printable_tree",
    "provenance_rows",
    "read_arrays",
    "read_fitted",
    "read_hashes",
    "read_json",
    "read_learnt",
    "read_placement",
    "read_toml",
    "refusal",
    "replace_file",
    "replacing",
    "require",
    "spec_from_json",
    "spec_to_json",
    "sweep",
    "sync_folder",
    "sync_together",
    "threshold_jaccard",
    "toml_text",
    "uncelled",
    "weight_key",
    "with_part",
    "without_part",
    "write_all",
    "write_fitted",
    "write_hashes",
    "write_learnt",
]
