"""A network that gives no numbers for some pictures: an error of these, and never a finding."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.end_to_end.ckd_run import ckd_run, photo, refused

from ckd.contract.hashes import write_hashes

onnx = pytest.importorskip("onnx")


@pytest.fixture
def brittle_bundle(bundle_copy: Path) -> Path:
    """The tiny bundle, whose classifier gives no number where a picture has a value above 250."""
    path = bundle_copy / "cls.fp32.onnx"
    model = onnx.load(path)
    node, helper = model.graph.node, onnx.helper
    for one in node:
        for place, name in enumerate(one.output):
            if name == "logits":
                one.output[place] = "usual_logits"
    extra = [
        helper.make_node("Cast", ["image"], ["as_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["as_float"], ["brightest"], keepdims=0),
        helper.make_node("Sub", ["limit", "brightest"], ["room"]),
        helper.make_node("Sqrt", ["room"], ["root"]),
        helper.make_node("Mul", ["root", "zero"], ["nothing"]),
        helper.make_node("Add", ["usual_logits", "nothing"], ["logits"]),
    ]
    node.extend(extra)
    for name, value in (("limit", 250.0), ("zero", 0.0)):
        tensor = helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [value])
        model.graph.initializer.append(tensor)
    onnx.save(model, path)
    write_hashes(bundle_copy)
    return bundle_copy


def test_in_a_folder_it_costs_that_photograph_and_alone_it_is_an_error(
    brittle_bundle: Path, tmp_path: Path
) -> None:
    bright_HWC = photo()
    bright_HWC[:30, :30] = 255
    for name, image_HWC in (("usual.png", photo()), ("bright.png", bright_HWC)):
        cv2.imwrite(str(tmp_path / name), image_HWC[..., ::-1])
    words = "bright.png: The networks gave no usable numbers for this picture. (logits)"
    run = ckd_run(
        tmp_path, "image", "usual.png", "bright.png", "--bundle", brittle_bundle, "--json"
    )
    assert run.code == 1
    assert run.errors == [
        f"error: {words}", "error: 1 of 2 images could not be analysed, see above"
    ]  # fmt: skip
    (line,) = run.out.splitlines()
    assert json.loads(line)["outcome"] == "answer"
    refused(ckd_run(tmp_path, "image", "bright.png", "--bundle", brittle_bundle), 1, words)


def test_a_video_ends_at_its_frame_and_keeps_those_before(
    brittle_bundle: Path, tmp_path: Path
) -> None:
    film = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (96, 64))
    for number in range(5):
        frame = np.ascontiguousarray(photo(64, 96)[..., ::-1])
        if number == 3:
            frame[:30, :30] = 255
        writer.write(frame)
    writer.release()
    run = ckd_run(tmp_path, "video", "film.avi", "--bundle", brittle_bundle)
    assert run.code == 1
    assert run.errors[-1].startswith("error: frame 3: The networks gave no usable numbers")
    rows = (tmp_path / "runs" / "video" / "findings.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [
        [f"film_{number:06d}", "answer"] for number in range(3)
    ]
