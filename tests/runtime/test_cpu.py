import logging
from pathlib import Path

import onnxruntime
import pytest
from tests.runtime.cpuinfo import X86

from ckd.runtime import Cascade, cpu


def test_x86(cpuinfo: Path) -> None:
    cpuinfo.write_text(X86.format("avx2 avx512_vnni") + X86.format("of another core"))
    assert cpu.cpu_name() == "Fast One (family 6, model 143)"
    assert cpu.cpu_flags() == {"avx2", "avx512_vnni"}
    assert not cpu.lacks_int8_instructions()


def test_arm_has_features_and_no_name(cpuinfo: Path) -> None:
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd asimddp\n\n")
    assert cpu.cpu_flags() == {"fp", "asimd", "asimddp"}
    assert not cpu.lacks_int8_instructions()
    assert cpu.cpu_name()


def test_a_system_that_tells_nothing_is_not_warned_of(cpuinfo: Path) -> None:
    assert not cpuinfo.exists()
    assert cpu.cpu_flags() == frozenset()
    assert not cpu.lacks_int8_instructions()
    assert cpu.cpu_name()


def test_int8_without_instructions_for_it_is_warned_of(
    cpuinfo: Path,
    caplog: pytest.LogCaptureFixture,
    tiny_bundle: Path,
    int8_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.26.0")
    cpuinfo.write_text(X86.format("avx avx2"))
    assert cpu.lacks_int8_instructions()
    with caplog.at_level(logging.WARNING), Cascade.load(int8_bundle, precision="int8"):
        assert "no instructions for INT8" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING), Cascade.load(tiny_bundle):
        assert not caplog.text
