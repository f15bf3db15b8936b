"""What `ckd-run info` shows of a bundle: what it holds, and what it promises."""

import json
from collections.abc import Mapping
from pathlib import Path

from ckd import console
from ckd.contract.bundle import CASCADE, Bundle
from ckd.contract.card import provenance_rows
from ckd.contract.labels import lesion_name
from ckd.contract.parsing import parse_json
from ckd.finding.decision import Decider
from ckd.finding.promises import Promises
from ckd.runtime.signed import open_bundle, signature_shown


def print_info(bundle: Path | None, prevalence: Mapping[str, float], *, as_json: bool) -> None:
    """Print facts about a bundle as tables, or as JSON.

    Args:
        bundle: folder or zip; None for the embedded one.
        prevalence: share of some labels, for PPV and NPV.
        as_json: cascade.json itself; where the bundle decides, with the key "promises" added.

    Raises:
        BundleError: the bundle is incomplete, altered or not understood, or has no probabilities to
            which a prevalence could apply.
        UsageError: a prevalence cannot be.
    """
    opened = open_bundle(bundle)
    promises = Promises.of(Decider(opened.spec, opened.read, None, prevalence))
    if as_json:
        content = parse_json(opened.read(CASCADE))
        if promises is not None:
            content["promises"] = promises.as_dict()
        print(json.dumps(content, indent=2))
        return
    spec = opened.spec
    console.show(f"{spec.name}  ({spec.system}, {opened.num_bytes() / 1e6:.1f} MB, {opened.path})")
    console.print_table(("", ""), [*_held(opened), *_promised(promises)])
    if promises is not None:
        percent, target = f"{100 * promises.prevalence:.3g} %", lesion_name(promises.target)
        console.show(
            "\nCounted on the photographs that the points were fitted on, unseen by the networks;"
            "\nwhat others gave stands in the bundle's card, model_card.md. PPV and NPV where "
            f"{percent} are {target},\nin brackets at both ends of the intervals:\n",
            keep="\n",
        )
        console.print_table(*promises.table())


def _held(opened: Bundle) -> list[tuple[str, str]]:
    spec = opened.spec
    none = "" if spec.outputs.exclusive else "; an image may be of none"
    names = ", ".join(f"{name} ({lesion_name(name)})" for name in spec.labels)
    rows = [
        ("input", f"uint8 RGB {spec.image_size}x{spec.image_size}"),
        ("labels", f"{names}{none}"),
        ("precisions", ", ".join(spec.file_kinds())),
        ("sections", ", ".join(sorted(spec.sections)) or "none"),
        ("signature", signature_shown(opened)),
    ]
    for node in spec.nodes:
        rows.append((node.name, f"{', '.join(node.inputs)}  ->  {', '.join(node.outputs)}"))
    return rows + provenance_rows(spec.provenance)


def _promised(promises: Promises | None) -> list[tuple[str, str]]:
    if promises is None:
        return [("decides", "this bundle decides nothing: it has no operating points")]
    target = f"{promises.target} ({lesion_name(promises.target)})"
    return [
        ("decides", f"whether to refer for {target}, by default at {promises.default}"),
        ("label sets", promises.sets_said),
        ("doubts", promises.doubts_said),
    ]
