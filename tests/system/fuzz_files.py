"""Cases of the fuzz test for what anybody may hand over: pictures, bundles, tables, journals.

Each kind makes its input of a sound one, and gives what reads it.
"""

import io
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from damage import Case, damaged, harms, many, odd_json, odd_text, taken
from fuzz_units import STUDY
from long_run import BUNDLE
from mjpeg_camera import jpeg_of, part
from mutator import seeds
from PIL import Image

from ckd.contract.bundle import CASCADE, Bundle
from ckd.contract.cascade_json import spec_from_json
from ckd.contract.errors import InputError
from ckd.contract.hashes import HASHES
from ckd.contract.parsing import parse_json
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
from ckd.train.recipes.catalogue import find_recipe
from ckd.train.recipes.text import load_recipe
from ckd.train.study.setting import load_study

#: What data sets hold masks in.
MASK_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WebP")


class FileCases:
    """The kinds of cases, and the sound inputs that they damage."""

    def __init__(self, folder: Path) -> None:
        self._pictures = [(name, file) for name, files in seeds().items() for file in files]
        self._masks = [(name, _drawing(name)) for name in MASK_FORMATS]
        find_recipe("ckdnet-mobile").save(folder / "recipe.json")
        self._recipe = (folder / "recipe.json").read_bytes()
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
            "json": self.json,
            "toml": self.toml,
            "recipe": self.recipe,
            "cascade.json": self.cascade_json,
            "hashes.json": self.hashes_json,
            "zip": self.zip,
            "table": self.table,
            "journal": self.journal,
            "stream": self.stream,
            "dicom": self.dicom,
        }

    def photograph(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged photograph of any format but DICOM."""
        path = self._damaged_picture(rng, folder, tuple(one for one in READ if one != "DICOM"))
        return lambda: read_rgb(path)

    def dicom(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged DICOM photograph."""
        path = self._damaged_picture(rng, folder, ("DICOM",))
        return lambda: read_rgb(path)

    def mask(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged picture in the place of a mask."""
        if harms(rng) and rng.random() < 0.3:
            path = self._damaged_picture(rng, folder, MASK_FORMATS)
        else:
            kind, content = rng.choice(self._masks)
            path = folder / f"mask.{kind}"
            path.write_bytes(damaged(rng, content))
        return lambda: read_mask(path)

    def json(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """Any JSON; what is read is what Python's own reader gives."""
        content = self._odd_json(rng, (BUNDLE / rng.choice((CASCADE, HASHES))).read_bytes())
        if rng.random() < 0.3:
            content = many(rng, content, (b"[", b"{", b'{"a":', b"9", b"\\u0061", b'"', b"-", b"e"))
        (folder / "file.json").write_bytes(content)
        return lambda: _compared(parse_json, json.loads, content)

    def toml(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A study whose TOML has odd values or damaged bytes."""
        path, content = folder / "study.toml", STUDY
        if rng.random() < 0.5:
            content = odd_text(rng, STUDY.decode()).encode("utf-8", "replace")
        if rng.random() < 0.3:
            content = many(rng, content, (b"[", b"a.", b"{a=", b"9", b"'", b"\n[[a]]\n", b"_1"))
        path.write_bytes(damaged(rng, content) if rng.random() < 0.5 else content)
        return lambda: load_study(path)

    def recipe(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A recipe with odd values, or damaged bytes."""
        path = folder / "recipe.json"
        path.write_bytes(self._odd_json(rng, self._recipe))
        return lambda: load_recipe(path)

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
            num_whole = 0
            for one in parts + parser.end():
                try:
                    decoder.decode(one.content, 0.0)
                    num_whole += 1
                except FrameFault:
                    pass
            taken(num_whole, "no frame is whole")

        return read

    def _damaged_picture(
        self, rng: random.Random, folder: Path, formats: tuple[str, ...] = READ
    ) -> Path:
        kind, content = rng.choice(self._pictures_of(*formats))
        path = folder / f"picture.{kind}"
        path.write_bytes(damaged(rng, content))
        return path

    def _pictures_of(self, *formats: str) -> list[tuple[str, bytes]]:
        return [one for one in self._pictures if one[0] in formats]

    def _odd_json(self, rng: random.Random, content: bytes) -> bytes:
        if rng.random() < 0.3:
            return damaged(rng, content)
        value = json.loads(content)
        for _ in range(rng.randint(1, 3)):
            value = odd_json(rng, value)
        return json.dumps(value).encode()


def _drawing(kind: str) -> bytes:
    """A mask: a lesion in the middle of skin."""
    drawn_HW = np.zeros((40, 56), np.uint8)
    drawn_HW[10:30, 14:42] = 255
    buffer = io.BytesIO()
    Image.fromarray(drawn_HW).save(buffer, kind)
    return buffer.getvalue()


def _compared(
    read: Callable[[bytes], object], oracle: Callable[[bytes], object], content: bytes
) -> None:
    """Read a text; what is refused is an `InputError`, what is read is what the oracle gives."""
    try:
        tree = read(content)
    except ValueError as error:
        raise InputError(str(error)) from error
    assert repr(tree) == repr(oracle(content))


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
