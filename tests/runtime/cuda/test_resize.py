"""The resize kernel: compiled for GPUs by NVRTC, and for the host, where it must be right."""

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.contract.errors import EngineError, EnvironmentUnusable
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image, num_halvings
from ckd.runtime.cuda import resize

Image = NDArray[np.uint8]
Resize = Callable[[Image, int], Image]

ROOT = Path(__file__).parents[3]

SIZES_HW = [
    (224, 224), (448, 448), (480, 640), (1080, 1920), (720, 1280),  # cameras
    (450, 600), (767, 1022), (3456, 5184), (1792, 1796),  # photographs: odd, halved once or more
    (225, 223), (223, 225), (100, 100), (112, 113), (16, 16),  # enlarged in one direction or both
    (100, 1000), (1000, 100), (16, 4000), (301, 17), (224, 500),
]  # fmt: skip


@pytest.fixture(scope="module")
def on_host(build_with_kernel: Callable[..., Path]) -> Resize:
    """The kernel, with a loop in place of the grid."""
    library = ctypes.CDLL(str(build_with_kernel("libresize.so")))

    def call(image_HWC: Image, side_px: int) -> Image:
        image_HWC = np.ascontiguousarray(image_HWC)
        small_HWC = np.empty((side_px, side_px, 3), np.uint8)
        height, width = image_HWC.shape[:2]
        library.run_on_host(
            ctypes.c_void_p(image_HWC.ctypes.data), height, width,
            num_halvings(height, width, side_px), ctypes.c_void_p(small_HWC.ctypes.data),
            side_px, -(-side_px // 32), -(-side_px // 4), 32, 4,
        )  # fmt: skip
        return small_HWC

    return call


def images(height: int, width: int) -> dict[str, Image]:
    rng = np.random.default_rng(height * width)
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    stripes = np.broadcast_to((np.arange(width) * 7 % 256)[:, None], (height, width, 3))
    # Halves of one step, which are what rounding in between shows in.
    board = np.broadcast_to((np.indices((height, width)).sum(0) % 2)[..., None] + 100, noise.shape)
    return {
        "noise": noise,
        "black and white": (noise > 127).astype(np.uint8) * 255,
        "stripes": stripes.astype(np.uint8),
        "board": board.astype(np.uint8),
    }


@pytest.mark.parametrize("side_px", [32, 224])
@pytest.mark.parametrize(("height", "width"), SIZES_HW)
def test_it_is_network_image(on_host: Resize, height: int, width: int, side_px: int) -> None:
    for what, image_HWC in images(height, width).items():
        expected = network_image(image_HWC, side_px).astype(int)
        # OpenCV rounds ties to even, and where it sums floats or fixed point, ties are missed.
        assert np.abs(on_host(image_HWC, side_px) - expected).max() <= 1, what


def test_it_is_network_image_on_a_photograph(on_host: Resize) -> None:
    photograph_HWC = read_rgb(ROOT / "tests" / "assets" / "demo.png")
    expected = network_image(photograph_HWC, 224).astype(int)
    assert np.abs(on_host(photograph_HWC, 224) - expected).max() <= 1


def test_what_is_at_network_size_stays_as_it_is(on_host: Resize) -> None:
    image_HWC = images(224, 224)["noise"]
    np.testing.assert_array_equal(on_host(image_HWC, 224), image_HWC)


@pytest.mark.parametrize("size_hw", [(64_000_000 // 16, 16), (8000, 8000)])
def test_the_largest_images_do_not_overflow(on_host: Resize, size_hw: tuple[int, int]) -> None:
    white_HWC = np.full((*size_hw, 3), 255, np.uint8)
    assert on_host(white_HWC, 224).min() == 255
    assert on_host(white_HWC, 32).min() == 255


@pytest.mark.parametrize("capability", [(8, 0), (8, 7), (9, 0)])
def test_nvrtc_makes_machine_code(capability: tuple[int, int]) -> None:
    require_nvrtc()
    code = resize.compiled(capability)
    assert code.startswith(b"\x7fELF")
    assert resize.KERNEL.encode() in code


def test_a_gpu_newer_than_nvrtc_is_given_ptx() -> None:
    require_nvrtc()
    code = resize.compiled((99, 9))
    assert f".entry {resize.KERNEL}(".encode() in code
    assert code.endswith(b"\0")


def test_a_gpu_older_than_nvrtc_is_refused() -> None:
    require_nvrtc()
    with pytest.raises(EngineError, match=r"as old as compute capability 3\.5"):
        resize.compiled((3, 5))


def test_a_kernel_that_does_not_compile_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    require_nvrtc()
    monkeypatch.setattr(resize, "source", lambda: "not C")
    resize.compiled.cache_clear()
    with pytest.raises(EngineError, match=r"for sm_80: resize\.cu\(1\): error"):
        resize.compiled((8, 0))


def test_without_nvrtc_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise RuntimeError("Failed to dlopen libnvrtc.so.12")

    nvrtc = SimpleNamespace(nvrtcGetSupportedArchs=missing)
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", nvrtc)
    resize.compiled.cache_clear()
    with pytest.raises(EnvironmentUnusable, match=r"cuda-bindings\[all\]"):
        resize.compiled((8, 0))


def test_it_is_launched_as_the_driver_wants_it(on_fake_driver: Callable[..., str]) -> None:
    """Arguments, grid and stream, through the real bindings to a driver that runs on the host."""
    require_nvrtc()
    printed = on_fake_driver("""
        from ckd.picture.resize import network_image
        from ckd.runtime.cuda.resize import Resizer
        device = cuda.open_cuda()
        stream = device.create_stream()
        for side, height, width in ((224, 1080, 1920), (225, 960, 1100), (64, 700, 701)):
            image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
            small = np.zeros((side, side, 3), np.uint8)
            resizer = Resizer(device, side)
            resizer(image.ctypes.data, height, width, small.ctypes.data, stream)
            off = np.abs(small - network_image(image, side).astype(int)).max()
            print(off <= 1, fake.fake_modules())
            resizer.close()
            resizer.close()
        print(fake.fake_modules())
        try:
            resizer(image.ctypes.data, height, width, small.ctypes.data, stream)
        except EngineError as error:
            print(error)
    """)
    assert printed.splitlines() == [
        *["True 1"] * 3, "0", "the resizer is closed; load the cascade again",
    ]  # fmt: skip


def test_what_fails_is_one_clear_error(on_fake_driver: Callable[..., str]) -> None:
    require_nvrtc()
    printed = on_fake_driver("""
        from ckd.runtime.cuda.resize import Resizer
        device = cuda.open_cuda()
        fake.setenv(b"FAKE_CUDA_FAIL", b"cuModuleLoadData:209", 1)
        try:
            Resizer(device, 224)
        except CkdError as error:
            print(error)
        fake.setenv(b"FAKE_CUDA_FAIL", b"cuLaunchKernel:1", 1)
        resizer = Resizer(device, 224)
        try:
            resizer(0, 480, 640, 0, device.create_stream())
        except CkdError as error:
            print(error)
    """)
    loading, launching = printed.splitlines()
    assert loading.startswith("cannot load the kernel that resizes images: CUDA_ERROR_NO_BINARY")
    assert launching == "cannot resize an image of 640x480 pixels: CUDA_ERROR_INVALID_VALUE"


@pytest.mark.parametrize("size_hw", [(15, 100), (100, 15), (8001, 8000)])
def test_a_size_that_cannot_be_analysed_is_refused(
    on_fake_driver: Callable[..., str], size_hw: tuple[int, int]
) -> None:
    require_nvrtc()
    printed = on_fake_driver(f"""
        from ckd.runtime.cuda.resize import Resizer
        try:
            Resizer(cuda.open_cuda(), 224)(0, *{size_hw}, 0, 0)
        except CkdError as error:
            print(type(error).__name__, error)
    """)
    assert printed.startswith(f"InputError image: {size_hw[1]}x{size_hw[0]} pixels; expected")


@pytest.mark.parametrize("side_px", [31, 1025])
def test_a_side_beyond_the_kernels_numbers_is_refused(side_px: int) -> None:
    with pytest.raises(ValueError, match=f"expected 32 to 1024, got {side_px}"):
        resize.Resizer(None, side_px)  # type: ignore[arg-type]


def require_nvrtc() -> None:
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc")
    try:
        nvrtc.nvrtcVersion()
    except RuntimeError as error:
        pytest.skip(f"no NVRTC: {error}")
