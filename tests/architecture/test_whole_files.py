"""What somebody relies on is written by `ckd.contract.whole_file`, and by nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("runtime", "train", "export", "calibration", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]

#: Methods and functions that write a file by its path, whatever they are called on.
WRITERS = {"write_text", "write_bytes", "imwrite", "savefig", "to_csv", "savetxt", "tofile"}
SAVERS = {"savez", "savez_compressed", "save", "dump"}
#: What `save` is called on that writes a file: Pillow's images, torch, onnx, NumPy.
MODULES = {"torch", "onnx", "np", "numpy", "pickle"}

IN_NEW_FOLDER = "in a folder that appears whole at its end (`new_folder`)"
OPEN_FILE = "into an open file that `replacing` gave, or into memory"
TEMPORARY = "in a temporary folder of this call"

#: File and function -> why it writes without the helper.
EXCEPTIONS = {
    ("runtime/ckd/contract/whole_file.py", "write"): "this is the helper",
    ("runtime/ckd/contract/whole_file.py", "replacing"): "this is the helper",
    ("runtime/ckd/contract/hashes.py", "write_hashes"): IN_NEW_FOLDER,
    ("runtime/ckd/contract/listed.py", "copy_to"): IN_NEW_FOLDER,
    ("export/ckd/export/bundle.py", "write_bundle"): IN_NEW_FOLDER,
    ("export/ckd/export/sign.py", "sign_bundle"): IN_NEW_FOLDER,
    ("export/ckd/export/release.py", "sign_embedded"): TEMPORARY,
    ("export/ckd/export/supply/release_folder.py", "write_release"): IN_NEW_FOLDER,
    ("export/ckd/export/onnx.py", "export_onnx"): IN_NEW_FOLDER,
    ("export/ckd/export/sections.py", "write_sections"): IN_NEW_FOLDER,
    ("export/ckd/export/sections.py", "_with_temperatures"): IN_NEW_FOLDER,
    ("export/ckd/export/sections.py", "_with_verdicts"): IN_NEW_FOLDER,
    ("export/ckd/export/shrink.py", "shrink_bundle"): IN_NEW_FOLDER,
    ("export/ckd/export/upgrade.py", "upgrade_bundle"): IN_NEW_FOLDER,
    ("calibration/ckd/calibration/int8_bundle.py", "write_int8"): IN_NEW_FOLDER,
    ("calibration/ckd/calibration/cost_card.py", "record_cost"): IN_NEW_FOLDER,
    ("train/ckd/train/fitting/stage_folder.py", "take_from"): IN_NEW_FOLDER,
    ("benchmarks/ckd/benchmarks/gpu/subject.py", "one_graph_bundle"): IN_NEW_FOLDER,
    ("benchmarks/ckd/benchmarks/gpu/subject.py", "_export"): IN_NEW_FOLDER,
    ("train/ckd/train/fitting/checkpoints.py", "_write"): OPEN_FILE,
    ("train/ckd/train/evaluation/plots.py", "save"): OPEN_FILE,
    ("train/ckd/train/evaluation/held_out.py", "save"): OPEN_FILE,
    ("train/ckd/train/study/table.py", "report"): OPEN_FILE,
    ("calibration/ckd/calibration/plots.py", "plot_sensitivity"): OPEN_FILE,
    ("benchmarks/ckd/benchmarks/picture.py", "write_picture"): OPEN_FILE,
    ("benchmarks/ckd/benchmarks/gpu/picture.py", "write_gpu_picture"): OPEN_FILE,
    ("benchmarks/ckd/benchmarks/compare_report.py", "write_comparison"): OPEN_FILE,
    ("runtime/ckd/finding/feature_space.py", "packed"): OPEN_FILE,
    ("runtime/ckd/runtime/cases.py", "pack_cases"): OPEN_FILE,
    ("runtime/ckd/runtime/backends/openvino.py", "_read"): TEMPORARY,
    ("runtime/ckd/runtime/backends/tensorrt/process.py", "build_engine"): TEMPORARY,
    ("runtime/ckd/runtime/backends/tensorrt/build.py", "main"): TEMPORARY,
    ("calibration/ckd/calibration/activations.py", "measure_activations"): TEMPORARY,
    ("calibration/ckd/calibration/quantize.py", "quantise"): TEMPORARY,
    ("benchmarks/features_cost.py", "without_features"): TEMPORARY,
    ("benchmarks/features_cost.py", "_drop_output"): TEMPORARY,
    ("benchmarks/ckd/benchmarks/contenders.py", "write_jpeg"): TEMPORARY,
    ("benchmarks/ckd/benchmarks/backbones.py", "_images"): TEMPORARY,
    ("runtime/ckd/runtime/sinks/tables.py", "_new"): "tables are read while they grow",
    ("train/ckd/train/study/clock.py", "note"): "a table that grows; a cut row is passed over",
    ("train/ckd/data/synthetic/write.py", "write_isic2017"): (
        "generated images, which the same command makes again; hours of syncs for a large set"
    ),
}


def writes(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Function and line of every call that writes a file by its path."""

    def visit(node: ast.AST, function: str) -> Iterator[tuple[str, int]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.Call) and is_write(node):
            yield function, node.lineno
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function)

    return visit(tree, "")


def is_write(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Name):
        return function.id == "open" and opens_to_write(call, 1)
    if not isinstance(function, ast.Attribute):
        return False
    if function.attr == "open":
        return opens_to_write(call, 0)
    if function.attr in WRITERS:
        return True
    on = function.value
    of_module = isinstance(on, ast.Name) and on.id in MODULES
    of_picture = isinstance(on, ast.Call) and ast.unparse(on.func).startswith("Image.")
    return function.attr in SAVERS and (of_module or of_picture)


def opens_to_write(call: ast.Call, place: int) -> bool:
    """Whether a mode is given that is more than reading; ``place`` among the arguments."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    given += call.args[place : place + 1]
    modes = [node.value for node in given if isinstance(node, ast.Constant)]
    return any(isinstance(mode, str) and set(mode) & set("wax+") for mode in modes)


def found() -> dict[tuple[str, str], int]:
    return {
        (path.relative_to(ROOT).as_posix(), function): line
        for path in SOURCES
        for function, line in writes(ast.parse(path.read_text(encoding="utf-8")))
    }


def test_every_write_goes_through_the_helper_or_says_why_not() -> None:
    calls = found()
    unknown = [f"{file}:{calls[file, name]} in {name}" for file, name in calls.keys() - EXCEPTIONS]
    assert not unknown, "write with ckd.contract.whole_file, or add a reason to EXCEPTIONS"
    assert not EXCEPTIONS.keys() - calls.keys(), "no exception is left that nobody needs"


@pytest.mark.parametrize(
    "source",
    [
        "path.write_text('x')",
        "path.write_bytes(b'x')",
        "open(path, 'w')",
        "path.open('ab')",
        "path.open(mode='r+b')",
        "np.savez(path, a=1)",
        "torch.save(state, path)",
        "Image.fromarray(a).save(path)",
        "figure.savefig(path)",
        "cv2.imwrite(path, image)",
    ],
)
def test_a_write_is_seen(source: str) -> None:
    assert [name for name, _ in writes(ast.parse(f"def f():\n    {source}"))] == ["f"]


@pytest.mark.parametrize(
    "source", ["path.open('rb')", "open(path)", "entry.open(images)", "f.read()"]
)
def test_reading_is_not_writing(source: str) -> None:
    assert not list(writes(ast.parse(source)))
