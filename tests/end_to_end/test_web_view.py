"""The live page in a real browser, with a real video behind it."""

import itertools
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
from findings import made_finding
from numpy.typing import NDArray
from services import needs_program
from tests.runtime.live.rig import at_once

from ckd.finding.decision import Decision
from ckd.finding.finder import NotFinite
from ckd.finding.finding import Finding
from ckd.finding.outcome import Reason
from ckd.runtime.live import Saver, Shown, Status, WebView, run_live
from ckd.runtime.sinks import RecordingState
from ckd.runtime.sources import open_source

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")

pytestmark = pytest.mark.system

HEIGHT, WIDTH = 480, 640
SKIN_RGB, CONTOUR_RGB = (222, 178, 160), (0, 220, 200)


def analyse(image_HWC: NDArray[np.uint8]) -> Finding:
    mask_HW = np.asarray(image_HWC[:, :, 0] < 160)
    return made_finding(mask_HW, None, {"MEL": 0.182, "SBK": 0.05, "NEV": 0.768})


def draw(image_HWC: NDArray[np.uint8], finding: Finding) -> NDArray[np.uint8]:
    overlay_HWC = image_HWC.copy()
    assert finding.mask_HW is not None
    mask = finding.mask_HW.astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(overlay_HWC, contours, -1, CONTOUR_RGB, 4, cv2.LINE_AA)
    return overlay_HWC


@pytest.fixture(scope="module")
def lesion_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dark ellipse on skin, for a minute."""
    path = tmp_path_factory.mktemp("video") / "lesion.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (WIDTH, HEIGHT))
    image_bgr = np.full((HEIGHT, WIDTH, 3), SKIN_RGB[::-1], np.uint8)
    cv2.ellipse(image_bgr, (320, 240), (150, 110), 20, 0, 360, (45, 60, 95), -1, cv2.LINE_AA)
    for _ in range(300):
        writer.write(image_bgr)
    writer.release()
    return path


def no_file(shown: Shown) -> Path:
    return Path(f"frame_{shown.frame.index}.png")


@contextmanager
def live_view(
    video: Path,
    save: Saver = no_file,
    analyse: Callable[[NDArray[np.uint8]], Finding] = analyse,
    after: int = 1,
) -> Iterator[WebView]:
    """The whole chain of `ckd-run camera`, running beside the browser until the view is closed.

    It is handed out once the view was given `after` frames: a busy machine may take long over them.
    """
    frames = itertools.count()
    given = threading.Event()

    def counted(image_HWC: NDArray[np.uint8]) -> Finding:
        if next(frames) == after:  # The loop gives a frame to the view before it takes the next.
            given.set()
        return analyse(image_HWC)

    with open_source(str(video), live=True) as source:
        view = WebView(port=0, source_name=source.name, save=save)
        loop = threading.Thread(
            target=run_live, args=(source, at_once(counted), draw), kwargs={"views": [view]}
        )
        loop.start()
        try:
            assert given.wait(30)
            yield view
        finally:
            view.close()
            loop.join()


def browse(url: str, folder: Path, *flags: str) -> str:
    """Load the page, let its clock run for a second, and return what the browser prints."""
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
    command = [
        needs_program(*BROWSERS),
        "--headless",
        "--no-sandbox",
        *quiet,
        f"--user-data-dir={folder / 'user'}",
    ]
    done = subprocess.run(
        [*command, "--virtual-time-budget=1000", "--window-size=1280,800", *flags, url],
        capture_output=True,
        text=True,
        timeout=40,
        check=True,
    )
    return done.stdout


def text_of(dom: str, name: str) -> str:
    element = re.search(rf'id="{name}"[^>]*>([^<]*)<', dom)
    assert element is not None, f"no element {name}"
    return element[1]


def test_the_page_shows_the_result_as_words_and_numbers(lesion_video: Path, tmp_path: Path) -> None:
    with live_view(lesion_video) as view:
        dom = browse(view.url, tmp_path, "--dump-dom")
    assert text_of(dom, "state") == "Live"
    assert text_of(dom, "source") == "lesion.avi"
    assert text_of(dom, "top") == "nevus"
    for name, share in [
        ("melanoma", "18.2 %"),
        ("seborrheic keratosis", "5.0 %"),
        ("nevus", "76.8 %"),
    ]:
        assert re.search(rf">{name}</span><span>{share}</span>", dom)
    assert re.fullmatch(r"\d+ ms", text_of(dom, "p50"))
    assert text_of(dom, "faults") == "none"
    assert text_of(dom, "size") == f"{WIDTH} \N{MULTIPLICATION SIGN} {HEIGHT}"
    assert float(text_of(dom, "lesion").removesuffix(" %")) == pytest.approx(17, abs=1)
    assert "Research use only" in dom


def test_the_page_shows_the_decision_first_and_its_reasons_beneath(
    lesion_video: Path, tmp_path: Path
) -> None:
    def decided(image_HWC: NDArray[np.uint8]) -> Finding:
        decision = Decision("screening", "MEL", True, ("MEL", "NEV"), 0.1, ("flagged",))
        prevalence = {"MEL": 0.19, "SBK": 0.13, "NEV": 0.68}
        return replace(analyse(image_HWC), decision=decision, prevalence=prevalence)

    with live_view(lesion_video, analyse=decided) as view:
        dom = browse(view.url, tmp_path, "--dump-dom")
    assert text_of(dom, "result-title") == "Suggestion"
    assert text_of(dom, "top") == "Referral suggested"
    assert text_of(dom, "second") == "nevus 77 %, where 19 % are melanoma"
    beneath = re.search(r'id="beneath">(.*?)</ul>', dom)
    assert beneath is not None
    assert re.findall(r"<li>(.*?)</li>", beneath[1]) == [
        "The probability of melanoma reaches the threshold.",
        "Possible: melanoma, nevus (such lists hold the right one in 90 %).",
    ]
    assert text_of(dom, "basis") == "Percentages hold where 19 % are melanoma."


def test_the_page_says_that_a_recording_ended(tmp_path: Path) -> None:
    well = RecordingState(path=tmp_path / "seen.mkv", num_pictures=31, num_bytes=4_000_000)
    for recording in (well, replace(well, ended_by="no space left")):
        with WebView(port=0) as view:
            view.update(Status(state="live", recording=recording), None)
            dom = browse(view.url, tmp_path, "--dump-dom")
        assert text_of(dom, "recorded") == "31 pictures, 4 MB"
        warning = "Recording ended early: no space left" if recording.ended_by else ""
        assert text_of(dom, "recording") == warning


def test_the_page_says_that_no_label_is_likely(lesion_video: Path, tmp_path: Path) -> None:
    def neither(image_HWC: NDArray[np.uint8]) -> Finding:
        low = {"MEL": 0.182, "SBK": 0.05}
        return replace(analyse(image_HWC), probabilities=low, exclusive=False)

    with live_view(lesion_video, analyse=neither) as view:
        dom = browse(view.url, tmp_path, "--dump-dom")
    assert text_of(dom, "top") == "none of MEL, SBK"


def nothing_found(image_HWC: NDArray[np.uint8]) -> Finding:
    empty_HW = np.zeros(image_HWC.shape[:2], np.bool_)
    found = analyse(image_HWC)
    return replace(found, mask_HW=empty_HW, probabilities={}, reason=Reason("no_lesion"))


def test_the_page_says_why_there_is_no_finding(lesion_video: Path, tmp_path: Path) -> None:
    with live_view(lesion_video, analyse=nothing_found) as view:
        dom = browse(view.url, tmp_path, "--dump-dom")
    assert text_of(dom, "result-title") == "No finding"
    assert text_of(dom, "top") == "No lesion was found in the picture."
    assert "melanoma" not in dom
    assert text_of(dom, "lesion") == "0.0 %"


def test_the_page_does_not_pass_an_old_answer_for_a_new_one(
    lesion_video: Path, tmp_path: Path
) -> None:
    frames = itertools.count()

    def failing(image_HWC: NDArray[np.uint8]) -> Finding:
        if next(frames) > 2:
            raise NotFinite("no usable numbers")
        return analyse(image_HWC)

    with live_view(lesion_video, analyse=failing, after=4) as view:
        dom = browse(view.url, tmp_path, "--dump-dom")
    assert text_of(dom, "state") == "No answer"
    assert "no usable numbers for this picture" in text_of(dom, "cover-text")
    assert "unusable)" in text_of(dom, "analysed")
    assert "old-result" in dom.partition('id="result"')[2].partition(">")[0]


def test_the_page_shows_the_picture(lesion_video: Path, tmp_path: Path) -> None:
    with live_view(lesion_video) as view:
        browse(view.url, tmp_path, f"--screenshot={tmp_path / 'page.png'}")
    page_bgr = cv2.imread(str(tmp_path / "page.png"))
    assert page_bgr is not None
    # At the left the video, filling most of the page's height; JPEG moves colours a little.
    for name, colour, least in [("skin", SKIN_RGB, 150_000), ("contour", CONTOUR_RGB, 2_000)]:
        is_colour = np.abs(page_bgr[:, :920, ::-1].astype(int) - colour).max(axis=2) < 14
        assert is_colour.sum() > least, name


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Adds JavaScript to the page that views serve from now on.

    It can `press(key)`, and `until(id, text, then)` waits for a text in an element.
    """

    def add(code: str) -> None:
        helpers = """
            const press = (key) => dispatchEvent(new KeyboardEvent("keydown", { key }));
            const until = (id, text, then) => setTimeout(
              () => el(id).textContent.includes(text) ? then() : until(id, text, then), 20);
        """
        page = files("ckd.runtime.live").joinpath("page.html").read_text(encoding="utf-8")
        page = page.replace("</body>", f"<script>{helpers}{code}</script></body>")
        (tmp_path / "page.html").write_text(page, encoding="utf-8")
        monkeypatch.setattr("ckd.runtime.live.web_server.files", lambda package: tmp_path)

    return add


def test_the_keys_freeze_and_save(
    lesion_video: Path, tmp_path: Path, script: Callable[[str], None]
) -> None:
    saved: list[Shown] = []

    def remember(shown: Shown) -> Path:
        saved.append(shown)
        return Path("kept.png")

    script("""
        until("top", "nevus", () => { press(" ");
          until("freeze", "Continue", () => press("s")); });
    """)
    with live_view(lesion_video, remember) as view:
        dom = browse(view.url, tmp_path, "--dump-dom", "--virtual-time-budget=2000")
    assert len(saved) == 1
    assert text_of(dom, "note") == "Saved kept.png"
    assert 'id="frozen" hidden' not in dom
    assert text_of(dom, "state") == "Frozen"
    assert re.search(r'id="freeze" aria-pressed="true"', dom)


@contextmanager
def kept_saying(view: WebView, status: Status) -> Iterator[None]:
    """The loop's part while no frame comes: the state is told several times a second."""
    stop = threading.Event()

    def keep_saying_so() -> None:
        while not stop.wait(0.1):
            view.update(status, None)

    view.update(status, None)
    loop = threading.Thread(target=keep_saying_so)
    loop.start()
    try:
        yield
    finally:
        stop.set()
        loop.join()


def test_a_journal_that_leaves_frames_out_is_plain_to_see(
    lesion_video: Path, tmp_path: Path
) -> None:
    with open_source(str(lesion_video)) as source, WebView(port=0) as view:
        run_live(source, at_once(analyse), draw, views=[view], max_frames=1)
        with kept_saying(view, Status(state="live", journal="No space left on device")):
            full = browse(view.url, tmp_path, "--dump-dom")
        with kept_saying(view, Status(state="live")):
            well = browse(view.url, tmp_path, "--dump-dom")
    assert text_of(full, "state") == text_of(well, "state") == "Live"
    said = "Frames are not recorded in the journal: No space left on device"
    assert (text_of(full, "journal"), text_of(well, "journal")) == (said, "")


def test_a_lost_camera_is_plain_to_see(lesion_video: Path, tmp_path: Path) -> None:
    with open_source(str(lesion_video)) as source, WebView(port=0) as view:
        run_live(source, at_once(analyse), draw, views=[view], max_frames=1)
        lost = Status(state="no signal", detail="attempt 2 of 10 to reconnect in 1.0 s")
        with kept_saying(view, lost):
            dom = browse(view.url, tmp_path, "--dump-dom")
    assert text_of(dom, "state") == "No signal"
    assert text_of(dom, "cover-title") == "No signal"
    assert text_of(dom, "cover-text") == "attempt 2 of 10 to reconnect in 1.0 s"
    assert re.search(r'<img id="picture"[^>]*class="old"', dom)
    assert 'id="cover" hidden' not in dom
    assert re.search(r'id="save"[^>]*hidden', dom)  # there is nowhere to save to


def test_a_program_that_has_gone_is_plain_to_see(
    lesion_video: Path, tmp_path: Path, script: Callable[[str], None]
) -> None:
    """The page must not go on showing the last result as if it were live."""
    closers: list[threading.Timer] = []

    def leave(shown: Shown) -> Path:
        closers.append(threading.Timer(0.5, view.close))
        closers[-1].start()
        return Path("kept.png")

    script('until("top", "nevus", () => press("s"));')
    with live_view(lesion_video, leave) as view:
        dom = browse(view.url, tmp_path, "--dump-dom", "--virtual-time-budget=30000")
    (closer,) = closers
    closer.join()
    assert text_of(dom, "state") == "Program not running"
    assert re.search(r'id="result" class="old-result"', dom)
