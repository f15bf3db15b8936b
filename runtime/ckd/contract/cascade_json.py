"""`cascade.json`: the description of a cascade as text."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any, Final

from ckd.contract.errors import BundleError
from ckd.contract.parsing import parse_json
from ckd.contract.spec import SECTION_NAMES, CascadeSpec, NodeSpec, OutputSpec, Section

#: Increased when a reader of the old number would misread the new content.
SCHEMA: Final = 2
_MASK: Final = "mask"
_KEYS: Final = frozenset(
    {
        "schema", "name", "system", "labels", "tasks", "preprocess", "thresholds", "tensors",
        "nodes", "outputs", "provenance", "sections", "serial",
    }
)  # fmt: skip


def spec_to_json(spec: CascadeSpec) -> str:
    """The text of `cascade.json`."""
    tree = {
        "schema": SCHEMA,
        "name": spec.name,
        "system": spec.system,
        "labels": spec.labels,
        "tasks": spec.tasks,
        "preprocess": _preprocess(spec),
        "thresholds": {_MASK: spec.mask_threshold},
        "tensors": {
            name: {"shape": shape, "dtype": spec.dtypes[name]}
            for name, shape in spec.shapes.items()
        },
        "nodes": [
            {"name": n.name, "inputs": n.inputs, "outputs": n.outputs, "files": n.files}
            for n in spec.nodes
        ],
        "outputs": _outputs(spec.outputs),
        "provenance": spec.provenance,
    }
    if spec.serial:
        tree["serial"] = spec.serial
    if spec.sections:
        tree["sections"] = {name: asdict(section) for name, section in spec.sections.items()}
    return json.dumps(tree, indent=2) + "\n"


#: What a tree of another form leads to.
_MALFORMED = (TypeError, ValueError, AttributeError, IndexError)


def spec_from_json(text: str | bytes) -> CascadeSpec:
    """Read `cascade.json`.

    Raises:
        BundleError: the text is not JSON, has another schema, lacks a part, or has a part that is
            not known; the wiring does not fit; or this version does not know a section that is not
            informative.
    """
    try:
        tree = parse_json(text)
        if not isinstance(tree, dict):
            raise TypeError("it is no JSON object")
        _check_schema(tree["schema"])
        if unknown := set(tree) - _KEYS:
            raise BundleError(f"cascade.json: {min(unknown)!r} is not understood by this ckd")
        spec = CascadeSpec(
            name=str(tree["name"]),
            system=str(tree["system"]),
            labels=_names(tree["labels"]),
            tasks=_names(tree["tasks"]),
            shapes={name: tuple(t["shape"]) for name, t in tree["tensors"].items()},
            dtypes={name: dict(t["dtype"]) for name, t in tree["tensors"].items()},
            nodes=tuple(
                NodeSpec(n["name"], _names(n["inputs"]), _names(n["outputs"]), dict(n["files"]))
                for n in tree["nodes"]
            ),
            outputs=OutputSpec(**tree["outputs"]),
            mask_threshold=_mask_threshold(_object(tree, "thresholds"), tree["labels"]),
            provenance=dict(tree["provenance"]),
            sections=_sections(_object(tree, "sections") if "sections" in tree else {}),
            serial=tree.get("serial", 0),
        )
        if (said := tree["preprocess"]) != (expected := _preprocess(spec)):
            raise BundleError(f"cascade.json: preprocess is {said}, expected {expected}")
        return spec
    except json.JSONDecodeError as error:
        raise BundleError(f"cascade.json: not JSON ({error})") from error
    except KeyError as error:
        raise BundleError(f"cascade.json: {error.args[0]!r} is missing") from error
    except _MALFORMED as error:
        raise BundleError(f"cascade.json: malformed ({error})") from error


def _preprocess(spec: CascadeSpec) -> dict[str, object]:
    """What is done to a photograph; there is one way, and a bundle that says another is refused."""
    return {"colour": "RGB", "resize": "area, squashed", "size": spec.image_size}


def _outputs(outputs: OutputSpec) -> dict[str, object]:
    """All fields; without features no such field, so that earlier versions of ckd can read it."""
    fields = asdict(outputs)
    return fields if outputs.features else {k: v for k, v in fields.items() if k != "features"}


def _mask_threshold(thresholds: Mapping[str, Any], labels: Collection[str]) -> float:
    """Bundles of earlier versions also say 0.5 for each label, which nothing reads."""
    if unknown := set(thresholds) - {_MASK, *labels}:
        raise BundleError(f"cascade.json: the threshold {min(unknown)!r} is not understood")
    threshold = thresholds.get(_MASK, 0.5)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise TypeError(f"the mask threshold {threshold!r} is no number")
    return float(threshold)


def _object(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    if not isinstance(tree[key], dict):
        raise TypeError(f"{key} is no JSON object")
    content: Mapping[str, Any] = tree[key]
    return content


def _check_schema(schema: object) -> None:
    if schema == SCHEMA:
        return
    remedy = "export the bundle anew or install the ckd that made it"
    if schema == 1 and schema is not True:
        remedy = "`ckd-export upgrade BUNDLE --out NEW` makes a bundle of it that can be read"
    raise BundleError(
        f"cascade.json: schema {schema!r}, this version of ckd reads {SCHEMA}; {remedy}"
    )


def _sections(tree: Mapping[str, Any]) -> dict[str, Section]:
    sections = {}
    for name, fields in tree.items():
        informative = fields.get("informative") if isinstance(fields, dict) else None
        if not isinstance(informative, bool):
            raise TypeError(
                f"section {name!r}: informative is {informative!r}, expected true or false"
            )
        if name not in SECTION_NAMES and not informative:
            raise BundleError(
                f"cascade.json: its section {name!r} is not known to this version of ckd, and "
                "answers may depend on it; install the ckd that made the bundle"
            )
        if not isinstance(fields.get("content"), dict):
            raise TypeError(f"section {name!r}: its content is no JSON object")
        sections[name] = Section(fields["content"], informative)
    return sections


def _names(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r} is no list of names")
    return tuple(values)
