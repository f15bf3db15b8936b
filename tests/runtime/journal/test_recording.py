"""What a journal writes, and that it holds nothing up when it cannot."""

import errno
import io
import json
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from tests.runtime.cuda.fake import RecordingCuda
from tests.runtime.cuda.fake_engine import FakeCudaBackend
from tests.runtime.journal.rig import Still, add, recorded, replayed, segments
from tests.runtime.photographs import SIDE, photo, session_function

from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.contract.whole_file import replace_file
from ckd.finding.finding import Finding
from ckd.picture.resize import network_image
from ckd.runtime import Cascade
from ckd.runtime.engine import Outputs
from ckd.runtime.inputs import Analysed, Listener
from ckd.runtime.journal import Journal, open_run, writing
from ckd.runtime.journal.backlog import Backlog
from ckd.runtime.journal.layout import runs_in, segments_in
from ckd.runtime.journal.record import FrameRecord
from ckd.runtime.journal.ring import Ring
from ckd.runtime.journal.segments import Record
from ckd.runtime.journal.writing import Writer
from ckd.runtime.journal_cli import JournalChoice
from ckd.runtime.sources import Frame


def test_every_frame_is_there_in_standard_files(cascade: Cascade, tmp_path: Path) -> None:
    journal = recorded(tmp_path, cascade)
    assert sorted(path.name for path in journal.run.iterdir()) == [
        "journal.json", "segment-00000000.zip"
    ]  # fmt: skip
    (segment,) = segments(tmp_path)
    assert [frame.number for frame in segment.frames] == [0, 1, 2]
    for seed, frame in enumerate(segment.frames):
        image_HWC = photo(seed)
        tensors = cascade.chain.run_all(network_image(image_HWC, SIDE))
        seen = cv2.imdecode(np.frombuffer(frame.read(frame.input_file), np.uint8), cv2.IMREAD_COLOR)
        assert seen is not None
        np.testing.assert_array_equal(seen[..., ::-1], network_image(image_HWC, SIDE))
        for name in cascade.spec.outputs.names():
            values = np.load(io.BytesIO(frame.read(frame.outputs[name])), allow_pickle=False)
            assert values.tobytes() == tensors[name].tobytes()
        assert frame.photograph is not None
        decoded = simplejpeg.decode_jpeg(frame.read(frame.photograph), strict=True)
        assert np.abs(decoded.astype(int) - image_HWC).mean() < 6
        assert frame.size_hw == image_HWC.shape[:2]
        finding = json.loads(cascade.predict(image_HWC).to_json())
        assert frame.finding is not None
        assert {**frame.finding, "timings_ms": 0} == {**finding, "timings_ms": 0}
        assert set(frame.finding["timings_ms"]) == set(finding["timings_ms"])
    assert "3 frames in 1 segments" in journal.summary


def test_a_header_says_with_what_it_was_recorded(cascade: Cascade, tmp_path: Path) -> None:
    recorded(tmp_path, cascade, bundle_path=Path("bundle"), every_tensor=True)
    header = open_run(tmp_path).header
    assert header.digest == cascade.bundle_digest
    assert header.bundle_path == str(Path.cwd() / "bundle")
    assert (header.backend, header.device, header.precision) == ("onnxruntime", "cpu", "fp32")
    assert (header.threads, header.every_tensor) == (1, True)
    assert {"ckd", "numpy", "opencv", "onnxruntime", "processor"} <= set(header.versions)
    assert header.changed_versions(cascade) == []
    assert header.content["source"] == "still"


def test_a_header_tells_of_engines_that_are_built_on_the_machine(
    tiny_bundle: Path, cascade: Cascade, tmp_path: Path
) -> None:
    backend: Any = FakeCudaBackend(RecordingCuda(), session_function)
    with Cascade(Bundle(tiny_bundle), backend, "fp32") as on_gpu:
        backend.machine = {"tensorrt": "TensorRT 10", "gpu": "A", "driver": 13010}
        engines: dict[str, Any] = on_gpu.chain.engines
        for engine in engines.values():
            engine.sha256 = 32 * "ab"
        recorded(tmp_path, on_gpu, [photo(0)])
        header = open_run(tmp_path).header
        assert header.versions["driver"] == "13010"
        assert header.changed_versions(on_gpu) == []
        backend.machine["gpu"], engines["cls"].sha256 = "B", 32 * "cd"
        assert header.changed_versions(on_gpu) == [
            "gpu A, here B", "engine cls abababababababab, here cdcdcdcdcdcdcdcd"
        ]  # fmt: skip
    assert "gpu A, here none" in header.changed_versions(cascade)


def test_state_over_frames_stands_at_the_start_of_each_segment(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "SEGMENT_S", 0.0)  # a segment for each frame
    with Journal(tmp_path, cascade, Still(), limit=10**9) as journal:
        for index in range(3):
            cascade.predict(photo(index))
            frame = Frame(photo(index), index, time.monotonic())
            journal.add(frame, cascade.predict(photo(index)), {"pooled": index})
        journal.key("web", "freeze")
    states = [segment.lines[0] for segment in segments(tmp_path)]
    assert [state["kind"] for state in states] == ["state"] * 4
    assert [state["segment"] for state in states] == [0, 1, 2, 3]
    assert [state["next_frame"] for state in states] == [0, 1, 2, 3]
    assert [state["over_frames"] for state in states] == [
        {}, {"pooled": 0}, {"pooled": 1}, {"pooled": 2}
    ]  # fmt: skip
    assert [state["counters"]["analysed"] for state in states] == [0, 1, 2, 3]
    assert states[0]["counters"]["dropped_by_source"] == 7
    *_, last = segments(tmp_path)
    assert last.lines[1]["key"] == "freeze"
    assert last.lines[1]["view"] == "web"


def test_a_frame_without_finite_numbers_is_recorded_too(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cascade.chain.run

    def broken(*arguments: object) -> Outputs:
        outputs = dict(run(*arguments))  # type: ignore[arg-type]
        outputs["logits"] = np.full_like(outputs["logits"], np.nan)
        return outputs

    monkeypatch.setattr(cascade.chain, "run", broken)
    recorded(tmp_path, cascade, [photo(0)])
    ((frame,),) = (segment.frames for segment in segments(tmp_path))
    assert frame.finding is None
    ((one,), outcome, _) = replayed(tmp_path, cascade)  # as broken as before, to the bit
    assert (one.finding, one.difference, outcome.num_changed) == (None, None, 0)
    monkeypatch.undo()
    ((one,), _, _) = replayed(tmp_path, cascade)
    assert one.difference is not None
    assert one.difference.what == "the tensor logits"
    assert "not all of them are finite" in one.difference.detail


@pytest.mark.parametrize(
    ("sent", "ending"), [(b"\xff\xd8 as sent \xff\xd9", ".jpg"), (b"\x89PNG as sent", ".png")]
)
def test_the_picture_of_a_camera_is_kept_as_it_was_sent(
    cascade: Cascade, tmp_path: Path, sent: bytes, ending: str
) -> None:
    class Sent:
        image_HWC, index, captured_s, jpeg = photo(0), 4, 1.5, sent

    with Journal(tmp_path, cascade, Still(), limit=10**9) as journal:
        finding = cascade.predict(Sent.image_HWC)
        journal.add(Sent, finding)  # type: ignore[arg-type]
    ((frame,),) = (segment.frames for segment in segments(tmp_path))
    assert frame.photograph is not None
    assert frame.photograph.endswith(ending)
    assert frame.read(frame.photograph) == sent
    assert (frame.source_index, frame.line["photograph_from"]) == (4, "camera")


def test_a_key_stands_behind_the_frames_that_were_counted_before_it(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the state at the start of a segment is that of its first record."""
    put, is_recorded = Writer.put, threading.Event()

    def pressed_meanwhile(writer: Writer, record: Record) -> None:
        if isinstance(record, FrameRecord):
            press.start()
            assert not is_recorded.wait(0.05)
        put(writer, record)
        if not isinstance(record, FrameRecord):
            is_recorded.set()

    monkeypatch.setattr(writing, "SEGMENT_S", 0.0)
    monkeypatch.setattr(Writer, "put", pressed_meanwhile)
    with Journal(tmp_path, cascade, Still(), limit=10**9) as journal:
        press = threading.Thread(target=journal.key, args=("web", "freeze"))
        finding = cascade.predict(photo(0))
        journal.add(Frame(photo(0), 0, time.monotonic()), finding, {"pooled": 0})
        press.join()
    states = [segment.lines[0] for segment in segments(tmp_path)]
    assert [(state["next_frame"], state["over_frames"]) for state in states] == [
        (0, {}), (1, {"pooled": 0})
    ]  # fmt: skip


@pytest.mark.parametrize("every_tensor", [False, True])
def test_a_gpu_is_heard_in_streams_too(tiny_bundle: Path, every_tensor: bool) -> None:
    """On a fake one: frames overlap, unless every tensor is copied."""
    heard: list[tuple[bytes, bytes, bytes | None]] = []

    def told(analysed: Analysed) -> None:
        gate = analysed.tensors["gate1"].tobytes() if every_tensor else None
        heard.append((analysed.image_SS3.tobytes(), analysed.outputs["logits"].tobytes(), gate))

    images = [photo(seed) for seed in range(4)]
    backend = FakeCudaBackend(RecordingCuda(), session_function)
    with Cascade(Bundle(tiny_bundle), backend, "fp32") as cascade:
        expected = [cascade.chain.run_all(network_image(image, SIDE)) for image in images]
        cascade.listener = Listener(told, every_tensor=every_tensor)
        assert len([*cascade.stream(iter(images))]) == 4
        cascade.predict(images[0])
    for (seen, logits, gate), tensors in zip(heard, [*expected, expected[0]], strict=True):
        assert (seen, logits) == (tensors["image"].tobytes(), tensors["logits"].tobytes())
        assert gate is None or gate == tensors["gate1"].tobytes()


# The ring


def test_the_oldest_segments_of_all_runs_make_room(tmp_path: Path) -> None:
    old, middle = (tmp_path / f"00000{n}_20260101-000000_0000000{n}" for n in (1, 2))
    own = tmp_path / "000003_19700101-000000_0000000a"  # a clock that was set back
    for run, count in ((old, 2), (middle, 3), (own, 0)):
        run.mkdir()
        (run / "journal.json").write_text("{}")
        for number in range(count):
            (run / f"segment-{number:08d}.zip").write_bytes(bytes(100))
    (tmp_path / "photo.jpg").write_bytes(bytes(10_000))  # is nobody's business
    ring = Ring(tmp_path, own, 500)

    def grow(number: int) -> None:
        path = own / f"segment-{number:08d}.zip"
        ring.make_room(200)
        path.write_bytes(bytes(200))
        ring.count(path, 200)

    grow(0)
    assert not old.exists()
    assert [len(segments_in(run)) for run in runs_in(tmp_path)] == [3, 1]
    grow(1)
    assert [len(segments_in(run)) for run in runs_in(tmp_path)] == [1, 2]
    grow(2)
    assert runs_in(tmp_path) == [own]  # not the run that is being written
    assert [path.name[-5] for path in segments_in(own)] == ["1", "2"]
    assert (own / "journal.json").exists()
    assert (tmp_path / "photo.jpg").exists()


def test_a_disk_that_others_fill_costs_the_oldest_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "000001_20260101-000000_0000000a"
    run.mkdir()
    (run / "journal.json").write_text("{}")
    for number in range(4):
        (run / f"segment-{number:08d}.zip").write_bytes(bytes(1_000_000))
    others = 0

    def usage(_: Path) -> SimpleNamespace:
        own = sum(path.stat().st_size for path in segments_in(run))
        return SimpleNamespace(free=20_000_000 - own - others)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    ring = Ring(tmp_path, run, 10**9, min_free_bytes=14_000_000)
    ring.make_room(1_000_000)
    assert len(segments_in(run)) == 4
    others = 2_900_000
    ring.make_room(1_000_000)
    assert [path.name[-5] for path in segments_in(run)] == ["2", "3"]
    others = 10_000_000
    with pytest.raises(OSError, match=r"has 10 MB free, of which --min-free keeps 14 MB"):
        ring.make_room(1_000_000)
    assert segments_in(run) == []


def test_what_was_begun_by_runs_that_were_killed_goes(tmp_path: Path) -> None:
    late, at_once, own = (tmp_path / f"00000{n}_20260101-000000_0000000{n}" for n in (1, 2, 3))
    for run in (late, at_once, own):
        run.mkdir()
        (run / "journal.json").write_text("{}")
    (late / "segment-00000000.zip").touch()
    (late / ".writing-segment-00000001.zip-1-ab").touch()
    Ring(tmp_path, own, 10**9).make_room(1)
    assert runs_in(tmp_path) == [late, own]
    assert {path.name for path in late.iterdir()} == {"journal.json", "segment-00000000.zip"}


def test_a_segment_that_cannot_be_removed_is_named_as_long_as_it_is_in_the_way(
    tmp_path: Path,
) -> None:
    old, own = (tmp_path / f"00000{n}_20260101-000000_0000000{n}" for n in (1, 2))
    (old / "segment-00000000.zip").mkdir(parents=True)
    own.mkdir()
    ring = Ring(tmp_path, own, 100)
    for _ in range(2):
        with pytest.raises(OSError, match=r"segment-00000000\.zip: an old segment cannot be rem"):
            ring.make_room(200)
    (old / "segment-00000000.zip").rmdir()
    ring.make_room(200)
    assert runs_in(tmp_path) == [own]


def test_a_journal_stays_within_its_size(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "SEGMENT_S", 0.0)
    first = recorded(tmp_path, cascade)
    size = sum(path.stat().st_size for path in segments_in(first.run)) + 500
    second = recorded(tmp_path, cascade, limit=size)
    kept = [path for run in runs_in(tmp_path) for path in segments_in(run)]
    assert sum(path.stat().st_size for path in kept) <= size
    assert len(segments_in(second.run)) == 3
    assert open_run(tmp_path).name == second.run.name


def test_runs_are_never_mixed(cascade: Cascade, tmp_path: Path) -> None:
    names = [recorded(tmp_path, cascade, [photo(0)]).run.name for _ in range(2)]
    assert [run.name for run in runs_in(tmp_path)] == names
    run = open_run(tmp_path)
    assert run.name == names[1]
    assert run.note == f"{tmp_path} holds 2 runs; this is the latest, {names[1]}"
    assert open_run(tmp_path / names[0]).name == names[0]
    with pytest.raises(UsageError, match="is one run of a journal"):
        recorded(tmp_path / names[0], cascade)


def test_runs_are_in_order_also_beyond_a_million(cascade: Cascade, tmp_path: Path) -> None:
    run = recorded(tmp_path, cascade, [photo(0)]).run
    run.rename(tmp_path / f"999999{run.name[6:]}")
    for number in (1_000_000, 1_000_001):
        latest = recorded(tmp_path, cascade, [photo(0)]).run.name
        assert latest.startswith(f"{number}_")
        assert open_run(tmp_path).name == latest


def test_two_do_not_keep_a_journal_in_one_folder(cascade: Cascade, tmp_path: Path) -> None:
    with (
        Journal(tmp_path, cascade, Still(), limit=10**6),
        pytest.raises(UsageError, match="give each camera a journal of its own"),
    ):
        Journal(tmp_path, cascade, Still(), limit=10**6)
    recorded(tmp_path, cascade, [photo(0)])  # which is free again
    assert len(runs_in(tmp_path)) == 1


def test_a_run_without_a_frame_leaves_nothing(cascade: Cascade, tmp_path: Path) -> None:
    journal = recorded(tmp_path, cascade, [])
    assert runs_in(tmp_path) == []
    assert journal.summary == "journal: 0 frames in 0 segments"


def test_a_run_that_cannot_begin_leaves_nothing(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("ckd.runtime.journal.journal.replace_file", full)
    with pytest.raises(UsageError, match=r"journal there \(No space left on device\)"):
        recorded(tmp_path / "journal", cascade)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_is_closed_again_does_not_stop_the_next(
    cascade: Cascade, tmp_path: Path
) -> None:
    first = recorded(tmp_path, cascade, [photo(0)])
    with Journal(tmp_path, cascade, Still(), limit=10**9) as second:
        first.close()
        add(second, cascade, photo(0), 0)
    assert cascade.listener is None
    assert second.summary.startswith("journal: 1 frames in 1 segments; ")


def test_a_folder_that_cannot_be_written_to_is_refused(cascade: Cascade, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot keep a journal there"):
        recorded(tmp_path / "file", cascade)
    assert cascade.listener is None


def test_sizes_of_a_ring_are_checked_before_anything_is_opened(tmp_path: Path) -> None:
    for size in ("500MB", "2 GB", "1MB"):
        JournalChoice(tmp_path, size, every_tensor=False, min_free_bytes=0)
    with pytest.raises(UsageError, match="--journal-size 2: expected a size in MB, GB or TB"):
        JournalChoice(tmp_path, "2", every_tensor=False, min_free_bytes=0)
    with pytest.raises(UsageError, match=r"--journal-size 0.1MB: expected at least 1MB"):
        JournalChoice(tmp_path, "0.1MB", every_tensor=False, min_free_bytes=0)


# Disks that are full or slow


def test_a_full_disk_ends_no_analysis_and_is_said(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: memoryview) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(writing, "RETRY_S", 0.0)
    monkeypatch.setattr(writing, "SEGMENT_S", 0.0)
    said: list[str] = []
    with Journal(tmp_path, cascade, Still(), limit=10**9, say=said.append) as journal:
        monkeypatch.setattr(writing, "replace_file", full)
        add(journal, cascade, photo(0), 0)
        add(journal, cascade, photo(1), 1)
        deadline_s = time.monotonic() + 10
        while "2 not recorded" not in journal.summary and time.monotonic() < deadline_s:
            time.sleep(0.001)
        assert journal.problem == "No space left on device"
        assert [path.name for path in journal.run.iterdir()] == ["journal.json"]
        monkeypatch.setattr(writing, "replace_file", replace_file)  # somebody made room
        add(journal, cascade, photo(2), 2)
    assert journal.problem == ""
    assert journal.summary.startswith("journal: 1 frames in 1 segments, 2 not recorded")
    assert said == [
        "journal: frames are not recorded: No space left on device; the analysis goes on"
    ]
    (segment,) = segments(tmp_path)
    assert segment.lines[0]["counters"]["not_recorded"] == 2
    frames, _, missing = replayed(tmp_path, cascade)
    assert [one.stored.number for one in frames] == [2]
    assert missing.num_frames == 0  # between the first and the last


@pytest.mark.parametrize("waits", [False, True])
def test_a_disk_that_stalls_holds_up_a_file_only(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    may_write = threading.Event()

    def slow(path: Path, content: memoryview) -> None:
        may_write.wait(10)
        replace_file(path, content)

    monkeypatch.setattr(writing, "SEGMENT_S", 0.0)
    monkeypatch.setattr(writing, "SEGMENTS_BYTES", 1)  # one segment may wait, and one frame
    monkeypatch.setattr(writing, "RECORDS_BYTES", 1)
    if waits:
        threading.Timer(0.05, may_write.set).start()
    with Journal(tmp_path, cascade, Still(), limit=10**9, waits=waits) as journal:
        monkeypatch.setattr(writing, "replace_file", slow)
        for index in range(6):
            add(journal, cascade, photo(index), index)
        deadline_s = time.monotonic() + 10
        while not (waits or journal.problem) and time.monotonic() < deadline_s:
            time.sleep(0.001)
        assert waits or " is too slow for it" in journal.problem
        may_write.set()
    frames, _, _ = replayed(tmp_path, cascade)
    assert len(frames) == 6 if waits else 1 <= len(frames) < 6
    assert ("not recorded" in journal.summary) is not waits
    assert all(one.difference is None for one in frames)


def test_a_disk_that_hangs_at_the_end_costs_frames_that_are_counted(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()

    def hang(path: Path, content: memoryview) -> None:
        may_write.wait(60)

    journal = Journal(tmp_path, cascade, Still(), limit=10**9)
    monkeypatch.setattr(writing, "replace_file", hang)
    monkeypatch.setattr(writing, "_CLOSE_TIMEOUT_S", 0.01)
    for index in range(2):
        add(journal, cascade, photo(index), index)
    for _ in range(2):
        journal.close()
    assert journal.summary.startswith(
        "journal: 0 frames in 0 segments, 2 not recorded (the disk does not answer); "
    )
    may_write.set()
    for thread in journal._writer._threads:
        thread.join()


def test_a_frame_that_cannot_be_encoded_costs_its_segment(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = FrameRecord.encoded

    def failing(record: FrameRecord) -> Any:
        if record.number == 1:
            raise RuntimeError("a defect")
        return encoded(record)

    monkeypatch.setattr(writing, "SEGMENT_S", 0.0)
    monkeypatch.setattr(FrameRecord, "encoded", failing)
    journal = recorded(tmp_path, cascade)
    assert journal.summary.startswith("journal: 2 frames in 2 segments, 1 not recorded (")
    assert "(RuntimeError: a defect)" in journal.summary
    frames, _, missing = replayed(tmp_path, cascade)
    assert [one.stored.number for one in frames] == [0, 2]
    assert missing.num_frames == 1


def test_what_waits_is_limited_in_bytes() -> None:
    backlog: Backlog[str] = Backlog(10)
    assert backlog.put("larger than all", 50)
    assert not backlog.put("no more", 1)
    assert backlog.get() == "larger than all"
    assert backlog.put("a", 5)
    assert backlog.put("b", 5)
    assert not backlog.put("c", 1)
    assert backlog.put("a key", 0)
    backlog.close()
    assert [backlog.get() for _ in range(4)] == ["a", "b", "a key", None]
    assert not backlog.put("d", 1)
    assert Backlog[str](1).get(time.monotonic()) is None


def test_a_folder_that_was_taken_away_is_made_again(cascade: Cascade, tmp_path: Path) -> None:
    with Journal(tmp_path, cascade, Still(), limit=10**9) as journal:
        (journal.run / "journal.json").unlink()
        journal.run.rmdir()
        finding: Finding = cascade.predict(photo(0))
        journal.add(Frame(photo(0), 0, time.monotonic()), finding)
    assert len(replayed(tmp_path, cascade)[0]) == 1
