"""What each stage of a run is worth on the images that the run was not trained on.

After a stage the system is what its earlier stages and this one made of it. Its answers for the
held-out images are kept beside the stage, and so are the averaged answers of the members that
taught it:

    <stage>/answers.npz           see `ckd.train.evaluation.held_out`
    <stage>/members_answers.npz   of its members, averaged
    stages.json                   figures of both, by stage
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ckd.console import Bars, Progress, say
from ckd.contract.spec import OutputSpec
from ckd.contract.whole_file import replace_file
from ckd.data.samples import SampleSet, numbered_as
from ckd.scores.images import label_scores, mask_scores
from ckd.train.evaluation.held_out import ANSWERS, Collected
from ckd.train.evaluation.scoring import score_image, scored_outputs
from ckd.train.evaluation.views import image_logits
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.fitting.run_folder import RunFolder, load_run
from ckd.train.recipes.recipe import AnyStage, Recipe
from ckd.train.recipes.soup import Soup
from ckd.train.study.folder import read_object
from ckd.train.systems import rewrite
from ckd.train.systems.graph import System
from ckd.train.systems.members import MEMBERS, averaged

STAGES: Final = "stages.json"

#: Figures by name.
Figures = Mapping[str, float]


def judge_stages(
    run: Path, held_out: SampleSet, device: str, bars: Bars
) -> dict[str, dict[str, Figures]]:
    """Figures of every stage that answers something, and of the members that taught it.

    What was judged before is not judged again.

    Args:
        run: folder of a finished run.
        held_out: images that it was not trained on.
        device: to compute on.
        bars: begins one bar for each stage.

    Returns:
        By stage, "alone" and, for a stage with members, "members".
    """
    recipe, finished = load_run(run)
    labels = tuple(finished.labels)
    system = recipe.system.build(labels, recipe.tasks, recipe.image_size, None).to(device).eval()
    # Masks of all stages are cut as those of the finished run are.
    system.mask_threshold = finished.mask_threshold
    samples = numbered_as(labels, held_out, exclusive=system.outputs.exclusive)
    folder = RunFolder(run)
    done = read_stages(run) if (run / STAGES).exists() else {}
    for stage in recipe.stages:
        folder.stage(stage).load_into(system)
        if stage.name in done:
            continue
        judged = _judged(recipe, stage, system)
        figures: dict[str, Figures] = {}
        if judged.names():
            bar = bars(f"judge {stage.name}")
            alone = system.with_nodes(system.nodes, judged)
            path = folder.stage(stage).path
            figures["alone"] = _figures(recipe, alone, samples, path / ANSWERS, bar)
            taught_by = () if isinstance(stage, Soup) else stage.taught_by
            if taught_by:
                members = [folder.stage(recipe.any_stage(name)).networks() for name in taught_by]
                joined = averaged(alone, members).to(device).eval()
                members_path = path / f"{MEMBERS}{ANSWERS}"
                figures["members"] = _figures(recipe, joined, samples, members_path, bar)
        done[stage.name] = figures
        replace_file(run / STAGES, (json.dumps(done, indent=2) + "\n").encode())
        for kind, values in figures.items():
            text = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
            say(f"{stage.name}{'' if kind == 'alone' else ', its members averaged'}: {text}")
    return done


def read_stages(run: Path) -> dict[str, Any]:
    """What `judge_stages` wrote; `InputError` if it is damaged."""
    return read_object(run / STAGES)


def _judged(recipe: Recipe, stage: AnyStage, system: System) -> OutputSpec:
    """The outputs that the stage is there for."""
    judged = scored_outputs(recipe.first_trained(stage), system.outputs)
    own = {name for node in system.nodes if node.name in stage.nodes for name in node.outputs}
    return judged.renamed(lambda name: name if name in own else None)


def _figures(
    recipe: Recipe, system: System, samples: SampleSet, path: Path, progress: Progress
) -> Figures:
    """Score a system, and keep its answers."""
    collected, images = Collected(system), []
    is_single = system.outputs.class_logits and rewrite.class_head(system)
    opened = rewrite.explained(system).eval() if is_single else system
    for sample, logits in image_logits(opened, samples.samples, "1", Augmentation(), 16):
        images.append(score_image(system, logits, sample))
        collected.add(sample, logits)
        progress(len(images), len(samples))
    collected.all().save(path)
    figures: dict[str, float] = {}
    for kind in ("coarse", "fine"):
        if (masks := mask_scores(images, kind)) is not None:
            figures[f"{kind}_jaccard"] = masks.jaccard
    if (scores := label_scores(system, images, recipe.tasks)) is not None:
        figures |= {f"auc_{task}": scores.per_label[task].auc for task in scores.tasks}
        figures["mean_auc"] = scores.mean_auc
    # The area is no number where the fold has no image of a label.
    return {name: value for name, value in figures.items() if not math.isnan(value)}
