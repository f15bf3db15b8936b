"""Fuzz: damaged photographs, streams, bundles, tables and journals, read by what reads them.

Whatever the bytes are, a reader gives its result or raises CkdError, and memory stays bounded. Each
case is made from the seed and its number alone; a case that fails is kept, and named so that
`--seed S --first N` starts with it.
"""

import io
import json
import os
import random
import shutil
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from damage import damaged, odd_json, odd_text
from fuzz_trust import Case, TrustCases
from long_run import BUNDLE, Counts, command_line, resident_mib
from mjpeg_camera import jpeg_of, part
from mutator import seeds

from ckd.contract.bundle import CASCADE, Bundle
from ckd.contract.cascade_json import spec_from_json
from ckd.contract.errors import CkdError
from ckd.contract.hashes import HASHES
from ckd.data.check import check_dataset
from ckd.data.layouts import list_split
from ckd.data.masks import read_mask
from ckd.data.samples import Split
from ckd.data.synthetic.write import write_isic2017
from ckd.picture.decode import read_rgb
from ckd.picture.formats import READ
from ckd.runtime import Cascade
from ckd.runtime.journal import Journal, Missing, Outcome, open_run, pack_run, replay_run
from ckd.runtime.journal.layout import HEADER, LINES, segment_name
from ckd.runtime.sources import VideoFile
from ckd.runtime.sources.faults import FrameFault
from ckd.runtime.sources.multipart import MultipartParser
from ckd.runtime.sources.whole import FrameDecoder

SEED = 0
MAX_MIB = 3000.0  # 64 megapixels are decoded several times over
MAX_GROWTH_MIB = 200.0
#: What data sets hold masks in.
MASK_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WebP")
#: Where inputs are kept that raised anything but CkdError.
FAILED = Path("runs") / "fuzz"


class Cases:
    """The kinds of cases, and the sound inputs that they damage."""

    def __init__(self, folder: Path) -> None:
        self._pictures = [(name, file) for name, files in seeds().items() for file in files]
        challenge, plain = folder / "challenge", folder / "plain"
        write_isic2017(challenge, num_train=6, num_val=2, side_px=32)
        shutil.copytree(challenge / "ISIC-2017_Training_Data", plain / "images")
        names = sorted(path.stem for path in (plain / "images").glob("*.jpg"))
        lines = [f"{name},{'ab'[at % 2]},{('train', 'val')[at % 2]},p{at}" for at, name in
                 enumerate(names)]  # fmt: skip
        (plain / "labels.csv").write_text("\n".join(["image,label,split,group", *lines]) + "\n")
        self._data_sets = [challenge, plain]
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(BUNDLE.rglob("*")):
                archive.write(path, path.relative_to(BUNDLE))
        self._zip = buffer.getvalue()
        self._cascade = Cascade.load(BUNDLE, "onnxruntime", "cpu", num_threads=1)
        self._run = _recorded(folder / "journal", self._cascade)
        self.kinds: dict[str, Case] = {
            "photograph": self.photograph,
            "mask": self.mask,
            "cascade.json": self.cascade_json,
            "hashes.json": self.hashes_json,
            "zip": self.zip,
            "table": self.table,
            "journal": self.journal,
            "stream": self.stream,
            **TrustCases(folder).kinds,
        }

    def photograph(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged photograph of any format."""
        path = self._damaged_picture(rng, folder)
        return lambda: read_rgb(path)

    def mask(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged picture in the place of a mask."""
        path = self._damaged_picture(rng, folder, MASK_FORMATS)
        return lambda: read_mask(path)

    def cascade_json(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """cascade.json with odd values, or damaged bytes."""
        content = self._odd_json(rng, (BUNDLE / CASCADE).read_bytes())
        (folder / CASCADE).write_bytes(content)
        return lambda: spec_from_json(content)

    def hashes_json(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A bundle whose hashes.json has odd values, or damaged bytes."""
        bundle = folder / "bundle"
        shutil.copytree(BUNDLE, bundle)
        (bundle / HASHES).write_bytes(self._odd_json(rng, (BUNDLE / HASHES).read_bytes()))
        return lambda: Bundle(bundle).verify()

    def zip(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A zipped bundle that is damaged, mostly in its index at the end."""
        content = self._zip
        if rng.random() < 0.7:
            content = content[:-2000] + damaged(rng, content[-2000:])
        else:
            content = damaged(rng, content)
        path = folder / "bundle.zip"
        path.write_bytes(content)
        return lambda: Bundle(path).verify()

    def table(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A data set of which one table has odd cells, or damaged bytes."""
        data = folder / "data"
        shutil.copytree(rng.choice(self._data_sets), data)
        table = rng.choice(sorted(data.rglob("*.csv")))
        content = table.read_bytes()
        if rng.random() < 0.7:
            content = odd_text(rng, content.decode()).encode("utf-8", "replace")
        else:
            content = damaged(rng, content)
        table.write_bytes(content)

        splits: tuple[Split, ...] = ("train", "val")

        def read() -> None:
            for split in splits:
                list_split(data, split)
            check_dataset(data)

        return read

    def journal(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A journal whose header, segment, lines or one file of the segment is damaged."""
        run = folder / self._run.name
        shutil.copytree(self._run, run)
        path = run / rng.choice([HEADER, *[segment_name(0)] * 3])
        content = path.read_bytes()
        if path.name == HEADER:
            path.write_bytes(self._odd_json(rng, content))
        elif rng.random() < 0.3:
            path.write_bytes(damaged(rng, content))
        else:
            with zipfile.ZipFile(path) as archive:
                files = {name: archive.read(name) for name in archive.namelist()}
            name = rng.choice([LINES, *files])
            if name == LINES:
                lines = files[LINES].splitlines()
                at = rng.randrange(len(lines))
                lines[at] = self._odd_json(rng, lines[at])
                files[LINES] = b"\n".join(lines)
            else:
                files[name] = damaged(rng, files[name])
            with zipfile.ZipFile(path, "w") as archive:
                for name, data in files.items():
                    archive.writestr(name, data)

        def read() -> None:
            missing = Missing()
            for one in replay_run(open_run(run), self._cascade, missing):
                Outcome().add(one)
            pack_run(open_run(run), folder / "packed.zip")
            said = "".join(missing.damaged)
            assert said.isprintable(), said
            assert all(len(line) < 400 for line in missing.damaged), said

        return read

    def stream(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A stream of a network camera, damaged anywhere, in pieces of any size."""
        content = damaged(rng, b"".join(part(jpeg_of(number)) for number in range(3)))
        (folder / "stream").write_bytes(content)
        boundary, size = rng.choice(("cut", '"--cut"', "", "c")), rng.choice((100, 5000, 10**6))

        def read() -> None:
            parser, decoder = MultipartParser(boundary, max_part_bytes=20_000), FrameDecoder()
            parts = []
            for at in range(0, len(content), size):
                parts += parser.feed(content[at : at + size], 0.0)
            for one in parts + parser.end():
                with suppress(FrameFault):
                    decoder.decode(one.content, 0.0)

        return read

    def _damaged_picture(
        self, rng: random.Random, folder: Path, formats: tuple[str, ...] = READ
    ) -> Path:
        kind, content = rng.choice([one for one in self._pictures if one[0] in formats])
        path = folder / f"picture.{kind}"
        path.write_bytes(damaged(rng, content))
        return path

    def _odd_json(self, rng: random.Random, content: bytes) -> bytes:
        if rng.random() < 0.3:
            return damaged(rng, content)
        value = json.loads(content)
        for _ in range(rng.randint(1, 3)):
            value = odd_json(rng, value)
        return json.dumps(value).encode()


def _recorded(folder: Path, cascade: Cascade) -> Path:
    """A run of a journal of three frames of one photograph."""
    clip = folder.with_name("clip.avi")
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for at in range(3):
        writer.write(np.full((48, 64, 3), 80 + 40 * at, np.uint8))
    writer.release()
    with (
        VideoFile(clip) as source,
        Journal(folder, cascade, source, limit=10**9, every_tensor=True, waits=True) as journal,
    ):
        for frame in source:
            journal.add(frame, cascade.predict(frame.image_HWC))
    return journal.run


def fuzz(minutes: float, folder: Path, seed: int = SEED, first: int = 0) -> Counts:
    """Run for so many minutes; AssertionError if anything but CkdError comes out."""
    cases = Cases(folder)
    kinds = sorted(cases.kinds)
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    failures: list[str] = []
    end_s = time.monotonic() + 60 * minutes
    warm_mib, slowest_s, number = 0.0, 0.0, first
    while time.monotonic() < end_s and len(failures) < 20:
        kind = kinds[number % len(kinds)]
        place = folder / "case"
        place.mkdir()
        read = cases.kinds[kind](random.Random(f"{seed} {number}"), place)
        began_s = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of much that it then reads
                read()
            outcomes[kind]["read"] += 1
        except CkdError as error:
            outcomes[kind]["refused" if str(error).strip() else "refused without a word"] += 1
        except Exception:
            kept = FAILED / f"{seed}_{number}"
            shutil.copytree(place, kept, dirs_exist_ok=True)
            failures.append(f"{kind}, --seed {seed} --first {number}, input kept in {kept}:\n"
                            f"{traceback.format_exc()}")  # fmt: skip
        slowest_s = max(slowest_s, time.monotonic() - began_s)
        shutil.rmtree(place)
        number += 1
        if number - first == 500:
            warm_mib = resident_mib(os.getpid())
    assert not failures, "\n".join(failures)
    assert not any(counter["refused without a word"] for counter in outcomes.values())
    # Not by `getrusage`, which counts what the process that started this one held.
    most_mib = resident_mib(os.getpid(), "VmHWM")
    assert most_mib < MAX_MIB, most_mib
    assert number - first > 500, "too few cases to say anything about memory"
    last_mib = resident_mib(os.getpid())
    assert last_mib - warm_mib < MAX_GROWTH_MIB, (warm_mib, last_mib)
    return {
        "seed": seed,
        "cases": number - first,
        "outcomes": {kind: dict(sorted((+counter).items())) for kind, counter in outcomes.items()},
        "slowest_s": round(slowest_s, 2),
        "memory_mib": {
            "after_500_cases": round(warm_mib, 1),
            "at_the_end": round(last_mib, 1),
            "most": round(most_mib, 1),
        },
    }


if __name__ == "__main__":
    command_line(fuzz, seed=SEED, first=0)
