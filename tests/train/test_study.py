"""A study: candidates on the same folds, in pieces, with a table and a picture at the end."""

import csv
import json
import shutil
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipes import plain, taught_plain

from ckd.contract.errors import InputError, UsageError
from ckd.data.folds import split_fold
from ckd.data.layouts import read_split
from ckd.data.synthetic.write import write_isic2017
from ckd.train.evaluation.held_out import HeldOutAnswers
from ckd.train.fitting.alone import alone_in
from ckd.train.fitting.fit import fit, planned
from ckd.train.fitting.identity import digest
from ckd.train.fitting.options import FitOptions
from ckd.train.fitting.run_folder import RunFolder, load_data, load_run
from ckd.train.recipes.soup import Soup
from ckd.train.recipes.text import with_overrides
from ckd.train.study import setting
from ckd.train.study.clock import Clock, seconds_by_stage
from ckd.train.study.folder import Conditions
from ckd.train.study.hours import plan_text, planned_pieces
from ckd.train.study.pieces import pieces_of, shared_stages
from ckd.train.study.run import run_study
from ckd.train.study.setting import load_study
from ckd.train.study.table import report, table_text

#: Copies of a study leave out what only an unfinished stage needs, and what takes most space.
CHECKPOINTS = shutil.ignore_patterns("*.ckpt")

TEXT = """
name = "tiny"
folds = 2
decide_on = [0]

[[candidates]]
name = "control"
recipe = "{folder}/plain.json"
seeds = [0, 1]

[[candidates]]
name = "taught"
recipe = "{folder}/taught.json"

[[candidates]]
name = "longer"
recipe = "{folder}/taught.json"
settings = ["stages.seg.epochs=2"]
figures = ["mean_auc"]

[elsewhere]
MEL = "MEL"
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("study")
    write_isic2017(work / "data", num_train=12, num_val=1, side_px=40, seed=3)
    write_isic2017(work / "elsewhere", num_train=9, num_val=1, side_px=40, seed=4)
    plain().save(work / "plain.json")
    taught_plain().save(work / "taught.json")
    (work / "study.toml").write_text(TEXT.format(folder=work))
    return work


@pytest.fixture
def settings(work: Path) -> Conditions:
    return Conditions(
        data=work / "data",
        weights=None,
        out=work / "out",
        commit="c0ffee",
        elsewhere=work / "elsewhere",
        accelerator="cpu",
    )


@pytest.fixture(scope="module")
def run(work: Path) -> Path:
    """The folder of a finished study that was stopped after its first epoch."""
    study = load_study(work / "study.toml")
    settings = Conditions(
        data=work / "data", weights=None, out=work / "out", commit="c0ffee",
        elsewhere=work / "elsewhere", accelerator="cpu",
    )  # fmt: skip
    assert not run_study(study, replace(settings, minutes=0.0))
    # However little time there is, one epoch is done.
    assert seconds_by_stage(work / "out" / "pieces.csv").keys() == {("control-seed0", "0", "cls")}
    assert run_study(study, settings)
    report(study, work / "out")
    return work / "out"


@pytest.mark.slow
def test_every_epoch_is_done_once(run: Path) -> None:
    times = seconds_by_stage(run / "pieces.csv")
    assert {key: len(seconds) for key, seconds in times.items()} == {
        ("control-seed0", "0", "cls"): 1,
        ("control-seed0", "0", "seg"): 1,
        ("control-seed1", "0", "cls"): 1,
        ("control-seed1", "0", "seg"): 1,
        ("taught", "0", "cls_member0"): 1,
        ("taught", "0", "cls_member1"): 1,
        ("taught", "0", "cls_student10"): 2,
        ("taught", "0", "cls_student11"): 2,
        ("taught", "0", "seg"): 1,
        ("longer", "0", "seg"): 2,  # all else is shared
    }
    assert all(second > 0 for seconds in times.values() for second in seconds)


@pytest.mark.slow
def test_every_stage_is_judged_on_the_images_of_its_fold(run: Path, work: Path) -> None:
    fold = run / "taught" / "fold0"
    judged = json.loads((fold / "stages.json").read_text())
    assert set(judged["cls_student10"]) == {"alone", "members"}
    assert set(judged["cls_soup"]) == {"alone"}
    assert set(judged["seg"]["alone"]) == {"fine_jaccard"}
    # The last stage of the classifier is the classifier of the run.
    whole = json.loads((fold / "evaluation" / "scores.json").read_text())
    assert judged["cls"]["alone"]["mean_auc"] == pytest.approx(whole["classification"]["mean_auc"])
    train_set = read_split(work / "data", "train")
    _, held_out = split_fold(train_set, 0, 2, plain().seed)
    ids = tuple(sample.id for sample in held_out.samples)
    for name in ("answers.npz", "members_answers.npz"):
        answers = HeldOutAnswers.load(fold / "cls_student10" / name)
        assert answers.ids == ids
        assert answers.mask_logits_NHW is None
    assert HeldOutAnswers.load(fold / "cls" / "answers.npz").features_ND is not None
    # `ckd-train sections` takes those of the run's own weights, and folds of one recipe.
    recipe, system = load_run(fold)
    assert HeldOutAnswers.load(fold / "answers.npz").weights == system.digest()
    assert recipe.digest() == load_study(work / "study.toml").attempts()[2].recipe.digest()
    part = train_set.only(lambda sample: sample.id not in ids)
    assert load_data(fold)["digest"] == digest(part)


@pytest.mark.slow
def test_the_table_has_candidates_seeds_and_stages(run: Path, work: Path) -> None:
    rows = report(load_study(work / "study.toml"), run)
    by_name = {row.name: row for row in rows}
    control = by_name["control"]
    assert len(control.seeds) == 2
    means = [seed["mean_auc"] for seed in control.seeds]
    assert control.mean("mean_auc") == pytest.approx(sum(means) / 2)
    spread = abs(means[0] - means[1]) / 2**0.5
    assert control.spread("mean_auc") == pytest.approx(spread)
    soup = by_name["cls_soup"]
    members = [by_name[name].mean("mean_auc") for name in ("cls_member0", "cls_member1")]
    assert [seed["mean_auc"] for seed in soup.seeds] == members
    assert "cls_student10: its members averaged" in by_name
    assert "cls_student11: its members averaged" not in by_name  # they are the same
    assert 0.0 <= by_name["taught"].elsewhere["MEL"] <= 1.0
    longer = by_name["longer"]
    assert longer.mean("mean_auc") == by_name["taught"].mean("mean_auc")
    assert longer.mean("fine_jaccard") is None  # it is not there for that
    assert longer.hours is not None
    assert by_name["taught"].hours is not None
    times = seconds_by_stage(run / "pieces.csv")
    apart = sum(times["longer", "0", "seg"]) - sum(times["taught", "0", "seg"])
    assert longer.hours - by_name["taught"].hours == pytest.approx(apart / 3600)
    text = table_text(rows)
    assert text.splitlines()[0].split()[:2] == ["mean_auc", "mean"]
    assert "  cls_soup" in text
    with (run / "table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    line = next(x for x in lines if (x["name"], x["figure"]) == ("control", "mean_auc"))
    assert float(line["mean"]) == pytest.approx(control.mean("mean_auc"), abs=1e-4)
    assert (run / "study.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_plan_counts_what_is_left(run: Path, work: Path, settings: Conditions) -> None:
    study = load_study(work / "study.toml")
    planned = planned_pieces(study, replace(settings, winner="taught"))
    left = [stage for stage in planned if stage.state != "done"]
    assert {(stage.attempt, stage.fold) for stage in left} == {("taught", "1"), ("taught", "all")}
    assert all(stage.minutes > 0 for stage in left if not stage.stage.endswith("soup") and
               stage.stage != "cls")  # fmt: skip
    assert "hours left on this machine" in plan_text(planned)
    # Nothing is known of a study that was not begun: batches are timed, and nothing is written.
    fresh = planned_pieces(study, replace(settings, out=work / "never"))
    assert sum(stage.minutes for stage in fresh) > 0
    assert not (work / "never").exists()


@pytest.mark.slow
def test_a_study_of_other_code_or_images_is_refused(
    run: Path, work: Path, settings: Conditions
) -> None:
    study = load_study(work / "study.toml")
    with pytest.raises(UsageError, match=r"another state of commit \(c0ffee there, decaf here\)"):
        run_study(study, replace(settings, commit="decaf"))
    with pytest.raises(UsageError, match="another state of images"):
        run_study(study, replace(settings, data=work / "elsewhere"))
    with pytest.raises(UsageError, match="another state of folds"):
        run_study(replace(study, folds=3), settings)
    with pytest.raises(UsageError, match="is no study, and not empty"):
        run_study(study, replace(settings, out=work / "data"))


@pytest.mark.slow
def test_the_folder_may_be_moved(run: Path, work: Path, settings: Conditions) -> None:
    moved = work / "moved"
    shutil.copytree(run, moved, ignore=CHECKPOINTS)
    watch = (moved / "pieces.csv").read_bytes()
    assert run_study(load_study(work / "study.toml"), replace(settings, out=moved))
    assert (moved / "pieces.csv").read_bytes() == watch  # nothing was trained again
    shared = moved / "longer" / "fold0" / "cls"
    source = shared.parent / (shared / "reused_from.txt").read_text().strip()
    assert source.resolve() == (moved / "taught" / "fold0" / "cls").resolve()
    texts = [path for path in moved.rglob("*") if path.suffix in (".csv", ".txt")]
    assert texts
    assert not [path for path in texts if str(work) in path.read_text()]


@pytest.mark.slow
def test_what_was_looked_at_stays_in_the_study(run: Path, work: Path, settings: Conditions) -> None:
    study = load_study(work / "study.toml")
    fewer = replace(study, candidates=study.candidates[:1])
    with pytest.raises(UsageError, match="candidate 'taught' was begun and is not in the study"):
        run_study(fewer, settings)
    (work / "changed.json").write_text((work / "taught.json").read_text().replace("0.4", "0.3"))
    changed = replace(study.candidates[1], recipe=str(work / "changed.json"))
    others = (study.candidates[0], changed, *study.candidates[2:])
    with pytest.raises(UsageError, match="fold0 was trained with other settings than taught has"):
        run_study(replace(study, candidates=others), settings)


@pytest.mark.slow
def test_a_half_written_study_still_has_a_table(run: Path, work: Path) -> None:
    half = work / "half"
    shutil.copytree(run, half, ignore=CHECKPOINTS)
    stages = half / "taught" / "fold0" / "stages.json"
    judged = json.loads(stages.read_text())
    stages.write_text(json.dumps({name: judged[name] for name in list(judged)[:2]}))
    with (half / "pieces.csv").open("ab") as file:
        file.write(b"taught,0,cls_mem")  # the power went
    Clock(half / "pieces.csv").note("taught", "1", "cls_member0", 0, 2.5)
    times = seconds_by_stage(half / "pieces.csv")
    assert times["taught", "1", "cls_member0"] == [2.5]
    rows = report(load_study(work / "study.toml"), half)
    assert {row.name for row in rows} >= {"control", "taught", "cls_member1"}


@pytest.mark.slow
def test_one_process_works_in_a_study(run: Path, work: Path, settings: Conditions) -> None:
    study = load_study(work / "study.toml")
    with alone_in(settings.out), pytest.raises(UsageError, match="another process works in it"):
        run_study(study, settings)


@pytest.mark.slow
def test_labels_elsewhere_are_checked_before_anything_is_trained(
    work: Path, settings: Conditions
) -> None:
    study = load_study(work / "study.toml")
    fresh = replace(settings, out=work / "fresh")
    with pytest.raises(InputError, match=r"no label 'BKL', which \[elsewhere\] names"):
        run_study(replace(study, elsewhere={"MEL": "BKL"}), fresh)
    with pytest.raises(UsageError, match=r"the study has no \[elsewhere\]"):
        run_study(replace(study, elsewhere={}), fresh)
    assert not (work / "fresh").exists()


def test_pieces_go_fold_by_fold_and_the_winner_on(work: Path) -> None:
    study = replace(load_study(work / "study.toml"), folds=3, decide_on=(0, 1))
    names = [(piece.attempt.name, piece.fold_name) for piece in pieces_of(study, "taught")]
    assert names == [
        ("control-seed0", "0"), ("control-seed1", "0"), ("taught", "0"), ("longer", "0"),
        ("control-seed0", "1"), ("control-seed1", "1"), ("taught", "1"), ("longer", "1"),
        ("taught", "2"), ("taught", "all"),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no candidate 'thaught'; expected one of control"):
        pieces_of(study, "thaught")


def test_the_example_is_a_study(tmp_path: Path) -> None:
    assert setting.__doc__ is not None
    example = textwrap.dedent(setting.__doc__.split(":\n", 1)[1].rsplit("\n\n", 1)[0])
    (tmp_path / "study.toml").write_text(example)
    names = [attempt.name for attempt in load_study(tmp_path / "study.toml").attempts()]
    assert names == ["today-seed0", "today-seed1", "today-seed2", "taught"]


def test_first_stages_are_shared_until_one_differs() -> None:
    recipe = taught_plain()
    longer = with_overrides(recipe, ["stages.cls_student10.epochs=3"])
    assert shared_stages(longer, recipe) == ("cls_member0", "cls_member1", "cls_soup")
    assert shared_stages(with_overrides(recipe, ["image_size=64"]), recipe) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("folds = 2", "folds = 1"), "folds: .*greater than or equal"),
        (lambda text: text.replace("[0]", "[2]"), "no fold 2; 2 folds are numbered 0 to 1"),
        (lambda text: text.replace('"taught"', '"control"'), "two candidates are named control"),
        (lambda text: text.replace('"taught"', '"../x"'), "candidates.1.name: .*match pattern"),
        (lambda text: text.replace("seeds = [0, 1]", 'seeds = ["x"]'), "seeds.0: .*valid integer"),
        (lambda text: text.replace("plain.json", "gone.json"), "no recipe .*gone.json"),
        (lambda text: text + "colour = 3", "elsewhere.colour: .*valid string"),
        (lambda text: "colour = 3\n" + text, "colour: Unexpected keyword argument"),
        (lambda text: text.replace("= [0]", "= 0"), "decide_on: Input should be a valid tuple"),
        (lambda text: text + "[", "not TOML"),
        (lambda text: text.replace("[0, 1]", "[0, 0]"), "two seeds train the same"),
        (lambda text: text.replace('"longer"', '"control-seed1"'), "kept as control-seed1"),
        (lambda text: text.replace("seg.epochs=2", "seg.select=best"), "images would choose"),
        (lambda text: text.replace("stages.seg.epochs=2", "seed=1"), "judged on other folds than"),
        (lambda text: text.replace("stages.seg.epochs=2", "split_by=image"), "on other folds"),
    ],
)
def test_what_is_wrong_in_the_file_is_said(
    change: Callable[[str], str], message: str, work: Path, tmp_path: Path
) -> None:
    changed: Any = tmp_path / "study.toml"
    changed.write_text(change(TEXT.format(folder=work)))
    with pytest.raises(UsageError, match=message):
        load_study(changed)


# The members of its run -----------------------------------------------------------------------

OPTIONS = FitOptions(weights=None, accelerator="cpu", fold=(0, 2))


@pytest.fixture(scope="module")
def member_run(run: Path) -> Path:
    """A run in which two members taught two students."""
    return run / "taught" / "fold0"


@pytest.mark.slow
def test_members_start_alike_and_the_soup_is_their_average(member_run: Path) -> None:
    recipe, system = load_run(member_run)
    folder = RunFolder(member_run)
    states = {
        stage.name: folder.stage(stage).networks()["cls"]
        for stage in recipe.stages
        if stage.nodes == ("cls",)
    }
    key = "classify.fc.weight"
    assert not torch.equal(states["cls_member0"][key], states["cls_member1"][key])
    # One epoch at a small rate from the same start: far closer to each other than random heads.
    distance = (states["cls_member0"][key] - states["cls_member1"][key]).abs().max()
    assert distance < 0.25 * states["cls_member0"][key].abs().max()
    mean = (states["cls_student10"][key] + states["cls_student11"][key]) / 2
    torch.testing.assert_close(states["cls"][key], mean)
    # The last stage of a network is what the run is.
    assert torch.equal(system.networks["cls"].state_dict()[key], states["cls"][key])


@pytest.mark.slow
def test_a_soup_writes_down_how_it_was_made(member_run: Path) -> None:
    record = json.loads((member_run / "cls_soup" / "soup.json").read_text())
    assert record["of"] == record["chosen"] == ["cls_member0", "cls_member1"]
    assert [point["share"] for point in record["line"]] == [0.0, 0.5, 1.0]
    _, middle, _ = points = [{**point} for point in record["line"]]
    assert [point.pop("share") for point in points] == [0.0, 0.5, 1.0]
    assert middle == pytest.approx(record["soup"])  # of two, the middle of the line


@pytest.mark.slow
def test_a_finished_run_is_kept_and_can_be_reused(member_run: Path, work: Path) -> None:
    again = planned(taught_plain(), work / "data", member_run, OPTIONS)
    assert {step.action for step in again} == {"keep"}
    elsewhere = planned(
        taught_plain(), work / "data", work / "other", replace(OPTIONS, reuse=member_run)
    )
    assert {step.action for step in elsewhere} == {"reuse"}


@pytest.mark.slow
def test_students_of_other_members_are_refused(member_run: Path, work: Path) -> None:
    recipe = taught_plain()
    member = RunFolder(member_run).stage(recipe.stage("cls_member1"))
    before = member.weights.read_bytes()
    networks = member.networks()
    networks["cls"]["classify.fc.bias"] += 1
    try:
        member.keep(networks)
        with pytest.raises(UsageError, match="cls_soup: trained on top of other weights"):
            planned(recipe, work / "data", member_run, OPTIONS)
    finally:
        member.weights.write_bytes(before)


@pytest.mark.slow
def test_a_greedy_soup_leaves_out_a_member_that_harms(member_run: Path, work: Path) -> None:
    recipe = taught_plain()
    greedy = Soup(name="greedy", nodes=("cls",), of=("cls_member0", "cls_member1"), select="best")
    greedy_recipe = replace(recipe, stages=(*recipe.stages, greedy))
    out = work / "greedy"
    fit(greedy_recipe, work / "data", out, replace(OPTIONS, reuse=member_run))
    record = json.loads((out / "greedy" / "soup.json").read_text())
    alone = {name: figures["mean_auc"] for name, figures in record["alone"].items()}
    best = max(alone, key=lambda name: alone[name])
    assert record["greedy"][0] == {"members": [best], "mean_auc": alone[best]}
    both = record["greedy"][1]["mean_auc"]
    assert record["chosen"] == (record["greedy"][1]["members"] if both >= alone[best] else [best])
    assert record["soup"]["mean_auc"] >= alone[best]
    if record["chosen"] == [best]:  # it stays as it was judged
        kept = RunFolder(out).stage(greedy).networks()["cls"]
        member = RunFolder(out).stage(recipe.stage(best)).networks()["cls"]
        assert all(torch.equal(kept[key], value) for key, value in member.items())


# Damage and abuse -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("taught/fold0/stages.json", "{"),
        ("taught/fold0/stages.json", '{"cls": 5}'),
        ("taught/fold0/elsewhere.json", "[]"),
        ("taught/fold0/evaluation/scores.json", "{}"),
    ],
)
def test_damaged_files_of_a_study_are_named(
    run: Path, work: Path, tmp_path: Path, name: str, content: str
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged, ignore=shutil.ignore_patterns("*.ckpt", "*.safetensors"))
    (damaged / name).write_text(content)
    with pytest.raises(InputError, match=rf"{name}: damaged .*repeat the command"):
        report(load_study(work / "study.toml"), damaged)


@pytest.mark.slow
def test_a_stage_that_was_removed_is_made_again(
    run: Path, work: Path, settings: Conditions
) -> None:
    mended = work / "mended"
    shutil.copytree(run, mended, ignore=CHECKPOINTS)
    soup = mended / "taught" / "fold0" / "cls" / "weights.safetensors"
    before = soup.read_bytes()
    soup.unlink()
    assert run_study(load_study(work / "study.toml"), replace(settings, out=mended))
    assert soup.read_bytes() == before
