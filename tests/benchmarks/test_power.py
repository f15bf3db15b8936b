"""The power meter on a made-up board: files as Linux shows those of INA3221 monitors."""

import json
import time
from pathlib import Path

import pytest

from ckd.benchmarks import power
from ckd.benchmarks.power import (
    PowerMeter,
    PowerReport,
    PowerUse,
    Rail,
    find_rails,
    measure_power,
    whole_module,
)
from ckd.contract.errors import EngineError, EnvironmentUnusable

#: An Orin Nano: label, millivolts, milliamperes of channels 1 to 3.
ORIN = (("VDD_IN", 5000, 1000), ("VDD_CPU_GPU_CV", 5000, 400), ("VDD_SOC", 4000, 250))


def board(root: Path, rails: tuple[tuple[str, int, int], ...] = ORIN, at: str = "1-0040") -> Path:
    folder = root / at / "hwmon" / "hwmon3"
    folder.mkdir(parents=True)
    for channel, (label, millivolts, milliamperes) in enumerate(rails, start=1):
        (folder / f"in{channel}_label").write_text(f"{label}\n")
        (folder / f"in{channel}_input").write_text(f"{millivolts}\n")
        (folder / f"curr{channel}_input").write_text(f"{milliamperes}\n")
    # What the driver shows besides: shunt voltages and their sum.
    (folder / "in7_label").write_text("sum of shunt voltages\n")
    (folder / "in7_input").write_text("12\n")
    (folder / "curr4_input").write_text("99\n")
    return folder


def change(path: Path, value: int) -> None:
    """In one piece: a reader is at it."""
    staged = path.with_suffix(".staged")
    staged.write_text(f"{value}\n")
    staged.replace(path)


def test_rails_are_found_with_their_labels_and_power(tmp_path: Path) -> None:
    board(tmp_path)
    rails = find_rails(tmp_path)
    assert [rail.label for rail in rails] == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]
    assert [rail.watts() for rail in rails] == pytest.approx([5.0, 2.0, 1.0])


def test_two_monitors_are_one_board(tmp_path: Path) -> None:
    agx = (("VDD_GPU_SOC", 5000, 1000), ("VDD_CPU_CV", 5000, 400), ("VIN_SYS_5V0", 5000, 800))
    board(tmp_path, agx)
    board(tmp_path, (("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5000, 100)), at="1-0041")
    labels = tuple(rail.label for rail in find_rails(tmp_path))
    assert labels == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO")
    assert whole_module(labels) == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")


@pytest.mark.parametrize(
    ("labels", "total"),
    [
        (("VDD_SOC", "VDD_IN", "VDD_GPU_SOC"), ("VDD_IN",)),
        (("VIN", "VDD_GPU", "VDD_CPU_SOC_MSS"), ("VDD_GPU", "VDD_CPU_SOC_MSS")),
        (("A", "B"), ("A", "B")),
    ],
)
def test_what_lies_behind_another_rail_is_not_counted_twice(
    labels: tuple[str, ...], total: tuple[str, ...]
) -> None:
    assert whole_module(labels) == total


def test_a_machine_without_monitors_says_where_they_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnusable, match=r"no power monitor .*below .*leave out --power"):
        find_rails(tmp_path)
    (tmp_path / "1-0040" / "hwmon" / "hwmon3").mkdir(parents=True)
    with pytest.raises(EnvironmentUnusable, match="no power monitor that can be read"):
        find_rails(tmp_path)


def test_a_channel_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    folder = board(tmp_path)
    (folder / "curr2_input").unlink()
    (folder / "in3_input").write_text("soon\n")
    assert [rail.label for rail in find_rails(tmp_path)] == ["VDD_IN"]
    (folder / "in1_input").write_text("")
    with pytest.raises(EnvironmentUnusable, match=r"cannot read the power of VDD_SOC: .*'soon"):
        find_rails(tmp_path)


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    folder = board(tmp_path)
    for path in folder.glob("curr*"):
        path.unlink()
        path.mkdir()  # root may read every file, but no folder
    with pytest.raises(EnvironmentUnusable, match=r"power of VDD_SOC: .*Is a directory"):
        find_rails(tmp_path)


def test_watts_are_means_over_the_block(tmp_path: Path) -> None:
    folder = board(tmp_path)
    current = folder / "curr1_input"
    with PowerMeter(find_rails(tmp_path), interval_s=0.01) as meter:
        time.sleep(0.1)
        change(current, 3000)
        time.sleep(0.1)
    use = meter.use(frames=4)
    assert use.samples > 5
    assert 5.0 < use.watts["VDD_IN"] < 15.0
    assert use.watts["VDD_SOC"] == pytest.approx(1.0)
    assert use.total == ("VDD_IN",)
    assert use.joules_per_frame == pytest.approx(use.watts["VDD_IN"] * use.seconds / 4)


def test_the_shortest_block_has_a_reading(tmp_path: Path) -> None:
    board(tmp_path)
    with PowerMeter(find_rails(tmp_path), interval_s=9.0) as meter:
        pass
    assert meter.use().samples == 1
    assert meter.use().joules_per_frame is None


def test_a_monitor_that_stops_answering_is_an_error(tmp_path: Path) -> None:
    folder = board(tmp_path)
    rails = find_rails(tmp_path)

    def unplugged() -> None:
        with PowerMeter(rails, interval_s=0.01):
            (folder / "in2_input").unlink()
            time.sleep(0.1)

    with pytest.raises(EngineError, match="cannot read the power of VDD_CPU_GPU_CV"):
        unplugged()


def test_an_error_in_the_block_goes_before_the_meters_own(tmp_path: Path) -> None:
    missing = Rail("VDD_IN", tmp_path / "in1_input", tmp_path / "curr1_input")

    def failing() -> None:
        with PowerMeter((missing,), interval_s=0.01):
            time.sleep(0.05)
            raise KeyError("of the block")

    with pytest.raises(KeyError):
        failing()


def test_frames_are_counted_while_power_is_measured(tmp_path: Path) -> None:
    folder = board(tmp_path)
    frames: list[int] = []

    def step() -> None:
        if not frames:
            change(folder / "curr1_input", 2000)
        frames.append(1)
        time.sleep(0.02)

    report = measure_power(
        step, find_rails(tmp_path), seconds=0.2, idle_seconds=0.05, interval_s=0.01
    )
    assert report.idle.total_watts == pytest.approx(5.0)
    assert report.busy.total_watts == pytest.approx(10.0, rel=0.2)
    assert (report.idle.frames, report.busy.frames) == (0, len(frames))
    assert report.busy.frames >= 5


def test_a_frame_costs_what_it_adds_to_idling() -> None:
    def drawn(watts: float, frames: int) -> PowerUse:
        return PowerUse(
            seconds=10.0, samples=100, watts={"VDD_IN": watts}, total=("VDD_IN",), frames=frames
        )

    report = PowerReport(drawn(5.0, 0), drawn(12.0, 200))
    assert report.busy.joules_per_frame == pytest.approx(0.6)
    assert report.added_joules_per_frame == pytest.approx(0.35)
    assert PowerReport(drawn(5.0, 0), drawn(5.0, 0)).added_joules_per_frame is None


def test_the_latency_report_tells_power_and_energy(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ckd.benchmarks import latency as module
    from ckd.benchmarks.contenders import CascadeSetting
    from ckd.benchmarks.report import Memory

    board(tmp_path)
    rails = find_rails(tmp_path)
    monkeypatch.setattr(module, "memory_of", lambda *_: Memory(1.0, 2.0, 0.5))
    monkeypatch.setattr(
        module,
        "measure_power",
        lambda step, rails: measure_power(step, rails, seconds=0.1, idle_seconds=0.0),
    )
    report = module.latency(
        tiny_bundle, setting=CascadeSetting(threads=1), warmup=0, runs=2, rails=rails
    )
    assert report.power is not None
    assert report.power.busy.frames > 0
    text = report.to_markdown()
    assert "| VDD_CPU_GPU_CV | 2.00 | 2.00 |" in text
    assert "Whole module: VDD_IN;" in text
    tree = json.loads(report.to_json())
    assert tree["power"]["busy"]["watts"]["VDD_IN"] == 5.0
    expected = report.power.busy.joules_per_frame
    assert tree["power"]["joules_per_frame"] == pytest.approx(expected, rel=1e-4)
    assert len(report.steps) > 2
    assert next(iter(report.steps.values())).runs == 2


def test_without_a_monitor_the_command_ends_before_it_measures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from ckd.benchmarks.cli import cli

    monkeypatch.setattr(power, "ROOT", tmp_path)
    done = CliRunner().invoke(cli, ["latency", "--power"])
    assert isinstance(done.exception, EnvironmentUnusable)
    assert done.exception.exit_code == 3
    assert "leave out --power" in str(done.exception)
