"""A bundle is read whole or refused: altered files, hostile archives and damaged lists."""

import hashlib
import json
import os
import random
import shutil
import stat
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ckd.contract.bundle import CASCADE, Bundle
from ckd.contract.errors import BundleError
from ckd.contract.hashes import HASHES, write_hashes

FILES = (
    "acceptance/cases.npz",
    "acceptance/tolerances.json",
    "acceptance/verdicts.json",
    "cascade.json",
    "cls.fp32.onnx",
    "model_card.md",
    "rootseg.fp32.onnx",
    "seg_decoder.fp32.onnx",
    "seg_encoder.fp32.onnx",
)


def zipped(folder: Path, extra: dict[str, bytes] | None = None) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return path


def edit_list(folder: Path, **changes: Any) -> None:
    """Change records of the list; None takes one out."""
    records = json.loads((folder / HASHES).read_text())
    records.update(changes)
    kept = {name: record for name, record in records.items() if record is not None}
    (folder / HASHES).write_text(json.dumps(kept))


def record_of(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_a_bundle_lists_every_file_and_reads_it(tiny_bundle: Path) -> None:
    bundle = Bundle(tiny_bundle)
    bundle.verify()
    assert tuple(sorted(bundle.files)) == FILES
    assert bundle.num_bytes() == sum((tiny_bundle / name).stat().st_size for name in FILES)
    assert bundle.read("model_card.md") == (tiny_bundle / "model_card.md").read_bytes()
    assert bundle.digest() == hashlib.sha256((tiny_bundle / HASHES).read_bytes()).hexdigest()


def test_a_zip_holds_the_same_bundle_as_its_folder(bundle_copy: Path) -> None:
    folder, archive = Bundle(bundle_copy), Bundle(zipped(bundle_copy))
    archive.verify()
    assert archive.digest() == folder.digest()
    assert archive.spec == folder.spec
    for name in FILES:
        assert archive.read(name) == folder.read(name)


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_copy_holds_every_file_but_the_list_and_those_named(
    bundle_copy: Path, tmp_path: Path, as_zip: bool
) -> None:
    source = Bundle(zipped(bundle_copy) if as_zip else bundle_copy)
    copy = tmp_path / "new" / "copy"
    source.copy_to(copy, without=("model_card.md",))
    copied = {p.relative_to(copy).as_posix(): p.read_bytes() for p in copy.rglob("*.*")}
    assert copied == {name: source.read(name) for name in FILES if name != "model_card.md"}


def test_a_copy_of_a_changed_bundle_or_of_names_that_contradict_is_refused(
    bundle_copy: Path, tmp_path: Path
) -> None:
    edit_list(bundle_copy, **{"acceptance": record_of(b"x")})
    with pytest.raises(BundleError, match=r"acceptance.* is a file and a folder at once"):
        Bundle(zipped(bundle_copy, {"acceptance": b"x"})).copy_to(tmp_path / "copy")
    edit_list(bundle_copy, **{"cls.fp32.onnx": record_of(b"x"), "acceptance": None})
    with pytest.raises(BundleError, match=r"cls\.fp32\.onnx was changed"):
        Bundle(bundle_copy).copy_to(tmp_path / "other")


def test_hashes_cover_whatever_lies_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a").write_bytes(b"1")
    (tmp_path / HASHES).write_text("an older one")
    write_hashes(tmp_path)
    assert json.loads((tmp_path / HASHES).read_text()) == {"below/a": record_of(b"1")}


# Altered


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_in_any_file_is_found(bundle_copy: Path, name: str, as_zip: bool) -> None:
    path = bundle_copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} was changed since the bundle was made"):
        Bundle(zipped(bundle_copy) if as_zip else bundle_copy).verify()


@pytest.mark.parametrize("change", [b"", b"tail"])
def test_a_shorter_or_longer_file_is_found(bundle_copy: Path, change: bytes) -> None:
    path = bundle_copy / "model_card.md"
    path.write_bytes(path.read_bytes() + change if change else path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"model_card\.md was changed"):
        Bundle(bundle_copy).verify()


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize("name", [HASHES, *FILES])
def test_a_missing_file_is_named(bundle_copy: Path, name: str, as_zip: bool) -> None:
    (bundle_copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing; the bundle is incomplete"):
        Bundle(zipped(bundle_copy) if as_zip else bundle_copy).verify()


def test_a_file_that_is_not_listed_is_refused(bundle_copy: Path) -> None:
    (bundle_copy / "acceptance" / "extra.bin").write_bytes(b"?")
    expected = r"'acceptance/extra.bin' is not listed in hashes.json; delete it"
    for path in (bundle_copy, zipped(bundle_copy)):
        bundle = Bundle(path)
        with pytest.raises(BundleError, match=r"extra\.bin is not listed"):
            bundle.read("acceptance/extra.bin")
        with pytest.raises(BundleError, match=expected):
            bundle.verify()


def test_a_bundle_of_schema_1_is_named_as_such(bundle_copy: Path) -> None:
    (bundle_copy / HASHES).rename(bundle_copy / "MANIFEST.json")
    for path in (bundle_copy, zipped(bundle_copy)):
        with pytest.raises(BundleError, match=r"schema 1\); `ckd-export upgrade .* --out NEW`"):
            Bundle(path)


def test_a_network_that_is_not_listed_is_refused_at_once(bundle_copy: Path) -> None:
    edit_list(bundle_copy, **{"cls.fp32.onnx": None})
    with pytest.raises(BundleError, match=r"cls\.fp32\.onnx is not listed"):
        Bundle(bundle_copy)


def test_what_was_checked_is_what_is_used(bundle_copy: Path) -> None:
    """The list is read once: exchanging it later changes neither the identity nor the checks."""
    bundle = Bundle(bundle_copy)
    before = bundle.digest()
    (bundle_copy / "model_card.md").write_text("another")
    write_hashes(bundle_copy)
    assert bundle.digest() == before
    with pytest.raises(BundleError, match=r"model_card\.md was changed"):
        bundle.read("model_card.md")


# Not a bundle


def test_what_is_no_bundle_is_refused(tmp_path: Path, tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle; `ckd-export bundle` makes one"):
        Bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"hashes\.json is missing"):
        Bundle(tmp_path)
    with pytest.raises(BundleError, match="neither a bundle folder nor a zip file"):
        Bundle(tiny_bundle / "model_card.md")
    (tmp_path / "empty.zip").touch()
    with pytest.raises(BundleError, match="neither a bundle folder nor a zip file"):
        Bundle(tmp_path / "empty.zip")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        '"text"',
        "3",
        "\x00\x01",
        '{"a": 3}',
        '{"a": []}',
        '{"a": {"size": 1}}',
        '{"a": {"sha256": ""}}',
        json.dumps({"a": {"size": "1", "sha256": "0" * 64}}),
        json.dumps({"a": {"size": 1.0, "sha256": "0" * 64}}),
        json.dumps({"a": {"size": -1, "sha256": "0" * 64}}),
        json.dumps({"a": {"size": 1, "sha256": "0" * 63}}),
        json.dumps({"a": {"size": 1, "sha256": "0" * 63 + "\n"}}),
        json.dumps({"a": {"size": 1, "sha256": 5}}),
        '{"a": {"size": Infinity, "sha256": "' + "0" * 64 + '"}}',
        '{"a": {"size": ' + "9" * 5000 + "}}",
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_a_malformed_list_is_refused(bundle_copy: Path, text: str) -> None:
    (bundle_copy / HASHES).write_text(text)
    with pytest.raises(BundleError, match=r"hashes\.json is malformed") as caught:
        Bundle(bundle_copy)
    assert "\n" not in str(caught.value)


# Attacks


@pytest.mark.parametrize(
    "name",
    [
        "/etc/hostname",
        "../outside",
        "acceptance/../../outside",
        "..\\outside",
        "C:\\outside",
        "C:outside",
        "nul\0byte",
        "two\nlines",
        "lone \ud800 surrogate",
        "",
    ],
)
def test_a_list_cannot_name_a_file_elsewhere(bundle_copy: Path, name: str) -> None:
    (bundle_copy.parent / "outside").write_bytes(b"secret")
    edit_list(bundle_copy, **{name: record_of(b"secret")})
    for path in (bundle_copy, zipped(bundle_copy)):
        with pytest.raises(BundleError) as caught:
            Bundle(path).verify()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_a_zip_writes_nothing_anywhere(bundle_copy: Path, name: str) -> None:
    before = sorted(bundle_copy.parent.rglob("*"))
    archive = zipped(bundle_copy, {name: b"slipped"})
    with pytest.raises(BundleError, match="points outside the bundle"):
        Bundle(archive)
    assert sorted(bundle_copy.parent.rglob("*")) == sorted([*before, archive])


@pytest.mark.parametrize("size", [2**31 + 1, 10**15, 10**30])
def test_a_huge_declared_size_is_refused_before_any_memory_is_taken(
    bundle_copy: Path, size: int
) -> None:
    edit_list(bundle_copy, **{"model_card.md": {"size": size, "sha256": "0" * 64}})
    with pytest.raises(BundleError, match="is no file size"):
        Bundle(bundle_copy)


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_size_that_only_fits_in_theory_allocates_nothing(bundle_copy: Path, as_zip: bool) -> None:
    edit_list(bundle_copy, **{"model_card.md": {"size": 2**31, "sha256": "0" * 64}})
    bundle = Bundle(zipped(bundle_copy) if as_zip else bundle_copy)
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=r"model_card\.md was changed"):
            bundle.verify()
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_zip_bomb_is_not_unpacked(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that unpacks to far more than its record says is read to the record's size only."""
    small = b"0" * 100
    edit_list(bundle_copy, **{"bomb": record_of(small)})
    (bundle_copy / "bomb").write_bytes(b"0" * 50_000_000)
    archive = zipped(bundle_copy)
    assert archive.stat().st_size < 1_000_000
    bundle, read, sizes = Bundle(archive), zipfile.ZipExtFile.read, []

    def watched(packed: zipfile.ZipExtFile, limit: int | None = -1) -> bytes:
        content = read(packed, limit)
        sizes.append(len(content))
        return content

    monkeypatch.setattr(zipfile.ZipExtFile, "read", watched)
    with pytest.raises(BundleError, match="bomb was changed"):
        bundle.read("bomb")
    assert sizes == [101]
    with pytest.raises(BundleError, match="bomb was changed"):
        bundle.verify()


def test_a_bomb_in_place_of_the_list_is_not_unpacked(bundle_copy: Path) -> None:
    (bundle_copy / HASHES).write_bytes(b" " * 50_000_000)
    with pytest.raises(BundleError, match=r"hashes\.json is malformed"):
        Bundle(zipped(bundle_copy))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in the file system")
def test_a_pipe_or_device_in_place_of_a_file_does_not_block(bundle_copy: Path) -> None:
    card = bundle_copy / "model_card.md"
    card.unlink()
    os.mkfifo(card)
    with pytest.raises(BundleError, match=r"model_card\.md is missing"):
        Bundle(bundle_copy).verify()
    card.unlink()
    card.symlink_to("/dev/zero")
    with pytest.raises(BundleError, match=r"model_card\.md is missing"):
        Bundle(bundle_copy).verify()


def test_a_folder_in_place_of_a_file_is_a_missing_file(bundle_copy: Path) -> None:
    (bundle_copy / "model_card.md").unlink()
    (bundle_copy / "model_card.md").mkdir()
    with pytest.raises(BundleError, match=r"model_card\.md is missing"):
        Bundle(bundle_copy).verify()


def test_entries_that_readers_take_for_different_files_are_refused(bundle_copy: Path) -> None:
    """Which of two counts, and what a link is, depends on who unpacks the file."""
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = zipped(bundle_copy, {"model_card.md": b"the other"})
    with pytest.raises(BundleError, match=r"'model_card\.md' is there twice; zip the bundle again"):
        Bundle(archive)
    with pytest.raises(BundleError, match="are one file where case is ignored"):
        Bundle(zipped(bundle_copy, {"Model_Card.md": b"the other"}))
    plain = zipped(bundle_copy)
    Bundle(plain).verify()
    link = zipfile.ZipInfo("linked")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(plain, "a") as appended:
        appended.writestr(link, "/etc/passwd")
    with pytest.raises(BundleError, match="'linked' is a link or device, expected files"):
        Bundle(plain)


def test_a_list_names_each_file_once(bundle_copy: Path) -> None:
    path = bundle_copy / HASHES
    listed = path.read_text()
    first = listed.index('"model_card.md"')
    path.write_text(f'{listed[:first]}"model_card.md": {{}}, {listed[first:]}')
    with pytest.raises(BundleError, match=r"'model_card\.md' is there twice"):
        Bundle(bundle_copy)
    path.write_text(listed)
    edit_list(bundle_copy, **{"MODEL_card.md": record_of(b"")})
    with pytest.raises(BundleError, match="are one file where case is ignored"):
        Bundle(bundle_copy)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_a_truncated_zip_is_refused(bundle_copy: Path, share: float) -> None:
    archive = zipped(bundle_copy)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BundleError, match="neither a bundle folder nor a zip file"):
        Bundle(archive)


def test_no_damage_to_a_zip_goes_unnoticed_or_raises_anything_else(bundle_copy: Path) -> None:
    """Random bytes anywhere: either every file still reads as listed, or `BundleError`."""
    archive = zipped(bundle_copy)
    intact, expected = archive.read_bytes(), Bundle(archive).digest()
    chance = random.Random(0)
    refused: list[str] = []
    for turn in range(300):
        content = bytearray(intact)
        # Half of the time in the index at the end, which decides how the rest is read.
        first = len(content) - 1500 if turn % 2 else 0
        for _ in range(chance.randint(1, 3)):
            content[chance.randrange(first, len(content))] = chance.randrange(256)
        archive.write_bytes(content)
        try:
            bundle = Bundle(archive)
            bundle.verify()
        except BundleError as error:
            refused.append(str(error))
        else:
            assert bundle.digest() == expected
    assert len(refused) > 200
    assert not [message for message in refused if "\n" in message]


def test_no_damage_to_the_list_raises_anything_else(bundle_copy: Path) -> None:
    intact = (bundle_copy / HASHES).read_bytes()
    chance, num_refused = random.Random(0), 0
    for _ in range(300):
        content = bytearray(intact)
        content[chance.randrange(len(content))] = chance.randrange(256)
        (bundle_copy / HASHES).write_bytes(content)
        try:
            Bundle(bundle_copy).verify()
        except BundleError:
            num_refused += 1
    assert num_refused > 250


def test_a_bundle_zipped_with_its_folder_is_refused(bundle_copy: Path) -> None:
    """`hashes.json` lies at the top; one level down it is another tree."""
    archive = shutil.make_archive(
        str(bundle_copy.parent / "nested"), "zip", bundle_copy.parent, bundle_copy.name
    )
    with pytest.raises(BundleError, match=r"hashes\.json is missing"):
        Bundle(Path(archive))


def test_the_wiring_is_read_from_checked_bytes(bundle_copy: Path) -> None:
    path = bundle_copy / CASCADE
    path.write_text(path.read_text().replace('"tiny"', '"tony"'))
    with pytest.raises(BundleError, match=r"cascade\.json was changed"):
        Bundle(bundle_copy)
    write_hashes(bundle_copy)
    assert Bundle(bundle_copy).spec.name == "tony"


def test_a_zip_whose_names_are_no_text_is_refused(bundle_copy: Path) -> None:
    path = zipped(bundle_copy)
    content = path.read_bytes()
    name = b"cls.fp32.onnx"
    end = content.rindex(name)  # in the index at the end, marked as UTF-8
    flags = end - 46 + 8
    index = bytearray(content)
    index[flags + 1] |= 0x08
    index[end] = 0xCE
    path.write_bytes(bytes(index))
    with pytest.raises(BundleError, match="neither a bundle folder nor a zip file"):
        Bundle(path)
