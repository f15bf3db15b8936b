"""A smaller file: `ffmpeg`, as a process of its own, makes H.264 in fragmented MP4 of our stream.

Chromium and phones play it, which know no Motion JPEG. The program is the user's, as installed on
the machine: it is no part of ckd, and its licence (the GPL where it holds x264) not ours.
"""

import functools
import os
import selectors
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, ClassVar, Final

import numpy as np
from typing_extensions import override

from ckd.contract.errors import EnvironmentUnusable
from ckd.picture.encode import encode_jpeg
from ckd.runtime.sinks.matroska import Block, cluster, head
from ckd.runtime.sinks.recording_files import (
    RecordingFile,
    check_still_there,
    create,
    groups,
    mean_interval_ms,
)

#: Encoders of H.264 without a look into later pictures, which would be lost by a cut.
_ENCODERS: Final = (
    ("libx264", "-preset", "veryfast", "-crf", "21", "-tune", "zerolatency"),
    ("libopenh264", "-b:v", "6M"),
)
#: Every picture keeps its time. The first is the name since FFmpeg 5.1, the second before that.
_OWN_TIMES: Final = ("-fps_mode", "-vsync")
_READ: Final = (
    *("-hide_banner", "-loglevel", "error", "-nostdin"),
    *("-f", "matroska", "-analyzeduration", "0", "-i", "pipe:0"),
)
_WRITE: Final = (
    *("-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"),  # H.264 has no odd sizes
    *("-enc_time_base", "1:1000", "-force_key_frames", "expr:gte(t,n_forced)"),
    # Half a second to a fragment: what is written plays without what was to come.
    *("-movflags", "+empty_moov+default_base_moof", "-frag_duration", "500000"),
    *("-flush_packets", "1", "-f", "mp4", "pipe:1"),
)
_TRIAL_S: Final = 30.0
#: An ffmpeg that takes nothing for so long, or does not end, is ended.
_HANGS_AFTER_S: Final = 30.0
_HANGS: Final = f"ffmpeg does not go on, for {_HANGS_AFTER_S:.0f} s"


class FragmentedMp4(RecordingFile):
    """Feeds ffmpeg, which writes the file; it ends the file well also when this program is killed.

    Raises:
        UsageError: the file exists, or cannot be made.
        EnvironmentUnusable: there is no ffmpeg that can do it, or it cannot be started.
    """

    span_s: ClassVar[float] = 0.2  # ffmpeg holds back the half second of a fragment

    def __init__(self, path: Path) -> None:
        command = ffmpeg_command(path.name)
        self._file = create(path)
        self._is_begun = False
        with ExitStack() as undo:  # or a recording that never began is in the way of the next
            undo.callback(path.unlink, missing_ok=True)
            undo.callback(os.close, self._file)
            try:
                self._complaints: IO[bytes] = undo.enter_context(tempfile.TemporaryFile())
                # In a session of its own: Ctrl-C is for us, and ffmpeg ends when its input does.
                self._process = subprocess.Popen(
                    command, bufsize=0, stdin=subprocess.PIPE, stdout=self._file,
                    stderr=self._complaints, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                why = error.strerror or error
                raise EnvironmentUnusable(f"{path}: ffmpeg cannot be started ({why})") from error
            undo.pop_all()
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._takes = selectors.DefaultSelector()
        self._takes.register(self._process.stdin, selectors.EVENT_WRITE)

    @override
    def write(self, blocks: Sequence[Block], size_hw: tuple[int, int]) -> None:
        content = bytearray()
        if not self._is_begun:
            content += head(*size_hw, mean_interval_ms(len(blocks), blocks[-1][0]))
            self._is_begun = True
        for group in groups(blocks):
            content += cluster(group)
        left = memoryview(content)
        assert self._process.stdin is not None
        try:
            while left:
                if not self._takes.select(_HANGS_AFTER_S):
                    self._process.kill()
                    raise OSError(None, _HANGS)
                left = left[self._process.stdin.write(left) or 0 :]
        except BrokenPipeError:
            self._wait()
            raise OSError(None, self._complaint()) from None
        self._keep()

    @override
    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._wait() != 0 and self._is_begun:  # without pictures it always complains
            raise OSError(None, self._complaint())
        self._keep()

    @override
    def close(self) -> None:
        if self._file < 0:
            return
        assert self._process.stdin is not None
        self._takes.close()
        self._process.stdin.close()
        with suppress(OSError):
            self._wait()
        self._complaints.close()
        os.close(self._file)
        self._file = -1

    def _wait(self) -> int:
        """Its exit code, once it has ended; `OSError` if it had to be ended."""
        try:
            return self._process.wait(_HANGS_AFTER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise OSError(None, _HANGS) from None

    def _keep(self) -> None:
        """Make last what ffmpeg has written since the last time."""
        check_still_there(self._file)
        if (num_bytes := os.fstat(self._file).st_size) > self.num_bytes:
            os.fsync(self._file)
            self.num_bytes = num_bytes

    def _complaint(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return f"ffmpeg ended: {lines[-1] if lines else self._process.returncode}"


def ffmpeg_command(name: str) -> tuple[str, ...]:
    """The command that makes fragmented MP4 from stdin to stdout, tried out on this machine.

    Args:
        name: of the file that is asked for, for messages.

    Raises:
        EnvironmentUnusable: ffmpeg is missing, or has no encoder of H.264.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise EnvironmentUnusable(
            f"{name}: a recording in MP4 needs the program ffmpeg, which is not installed; "
            "install it (apt install ffmpeg), or record to a name ending in .mkv"
        )
    command = _working_command(program)
    if command is None:
        raise EnvironmentUnusable(
            f"{name}: {program} cannot write H.264 in MP4 (tried: "
            f"{', '.join(encoder[0] for encoder in _ENCODERS)}); install the ffmpeg of your "
            "system's packages, or record to a name ending in .mkv"
        )
    return command


@functools.lru_cache
def _working_command(program: str) -> tuple[str, ...] | None:
    """The first command that makes a file of two pictures; None if none does."""
    jpeg = encode_jpeg(np.zeros((64, 64, 3), np.uint8))
    stream = head(64, 64, 40) + cluster([(0, jpeg), (40, jpeg)])
    for encoder in _ENCODERS:
        for own_times in _OWN_TIMES:
            command = (program, *_READ, "-c:v", *encoder, own_times, "vfr", *_WRITE)
            try:
                done = subprocess.run(command, input=stream, capture_output=True, timeout=_TRIAL_S)
            except OSError:
                continue
            except subprocess.TimeoutExpired:
                return None  # nor would it with other options
            if done.returncode == 0 and b"moof" in done.stdout:
                return command
    return None
