"""The bindings, the resize and DLPack on a real device.

Their arguments, errors and arithmetic are tested without one in `tests/runtime/cuda`.
"""

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.contract.errors import EngineError
from ckd.picture.resize import network_image
from ckd.runtime.cuda.bindings import CudaBindings
from ckd.runtime.cuda.dlpack import capsule
from ckd.runtime.cuda.resize import Resizer

pytestmark = pytest.mark.gpu

NUM_BYTES = 1 << 20


class Staged:
    """Device memory and page-locked memory of one size, the second as an array."""

    def __init__(self, cuda: CudaBindings, stack: ExitStack, num_bytes: int = NUM_BYTES) -> None:
        self.cuda, self.num_bytes = cuda, num_bytes
        self.there = cuda.allocate(num_bytes)
        stack.callback(cuda.free, self.there)
        self.here = cuda.allocate_pinned(num_bytes)
        stack.callback(cuda.free_pinned, self.here)
        self.array: NDArray[np.uint8] = cuda.host_array(self.here, (num_bytes,), "uint8")

    def up(self, stream: int) -> None:
        self.cuda.copy(self.there, self.here, self.num_bytes, stream)

    def down(self, stream: int) -> None:
        self.cuda.copy(self.here, self.there, self.num_bytes, stream)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def noise(size: int | tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def test_the_device_says_what_it_is(cuda: CudaBindings) -> None:
    properties = cuda.properties()
    assert properties.name
    assert properties.compute_capability >= (5, 0)
    assert properties.num_multiprocessors > 0
    assert 0 < cuda.free_bytes() <= properties.total_bytes
    assert properties.driver_version >= 12000
    assert properties.runtime_version >= 12000


def test_memory_goes_there_and_back(cuda: CudaBindings, stream: int, stack: ExitStack) -> None:
    staged = Staged(cuda, stack)
    staged.array[...] = noise(NUM_BYTES)
    staged.up(stream)
    cuda.synchronize(stream)
    staged.array[...] = 0
    staged.down(stream)
    cuda.synchronize(stream)
    np.testing.assert_array_equal(staged.array, noise(NUM_BYTES))


def test_pageable_memory_is_copied_too(cuda: CudaBindings, stream: int, stack: ExitStack) -> None:
    staged, source = Staged(cuda, stack), noise(NUM_BYTES)
    cuda.copy(staged.there, source.ctypes.data, NUM_BYTES, stream)
    staged.down(stream)
    cuda.synchronize(stream)
    np.testing.assert_array_equal(staged.array, source)


def test_memory_is_on_its_device_or_within_reach_of_all(
    cuda: CudaBindings, stack: ExitStack
) -> None:
    staged = Staged(cuda, stack)
    assert cuda.device_of(staged.there + 1) == cuda.index
    assert cuda.device_of(staged.here) is None


def test_memory_that_is_released_can_be_had_again(cuda: CudaBindings) -> None:
    quarter = cuda.properties().total_bytes // 4
    if cuda.free_bytes() < 2 * quarter:
        pytest.skip("another program uses the GPU's memory")
    for _ in range(10):
        cuda.free(cuda.allocate(quarter))


def test_full_memory_is_an_error_that_work_goes_on_after(
    cuda: CudaBindings, stream: int, stack: ExitStack
) -> None:
    with pytest.raises(EngineError, match="CUDA_ERROR_OUT_OF_MEMORY; the GPU's memory is full"):
        cuda.allocate(2 * cuda.properties().total_bytes)
    test_memory_goes_there_and_back(cuda, stream, stack)


def test_events_order_streams_and_take_the_time(
    cuda: CudaBindings, stream: int, stack: ExitStack
) -> None:
    staged, other = Staged(cuda, stack, 64 << 20), cuda.create_stream()
    stack.callback(cuda.destroy_stream, other)
    start, end = cuda.create_event(timing=True), cuda.create_event(timing=True)
    copied = cuda.create_event()
    for event in (start, end, copied):
        stack.callback(cuda.destroy_event, event)
    staged.array[...] = 7
    cuda.record(start, stream)
    staged.up(stream)
    cuda.record(copied, stream)
    cuda.wait(other, copied)
    staged.array[:1] = 7
    staged.down(other)
    cuda.record(end, other)
    cuda.synchronize(other)
    assert staged.array.min() == 7
    # 64 MiB twice over the bus: no bus is faster than 2 TB/s, and none takes a second.
    assert 0.05 < cuda.elapsed_ms(start, end) < 1000


def test_captured_work_is_done_at_every_launch(
    cuda: CudaBindings, stream: int, stack: ExitStack
) -> None:
    """Two streams that part and meet again, as the networks of a cascade do."""
    one, two = Staged(cuda, stack), Staged(cuda, stack)
    other, parted, met = cuda.create_stream(), cuda.create_event(), cuda.create_event()
    stack.callback(cuda.destroy_stream, other)
    stack.callback(cuda.destroy_event, parted)
    stack.callback(cuda.destroy_event, met)
    one.array[...] = two.array[...] = 0
    cuda.begin_capture(stream)
    cuda.record(parted, stream)
    cuda.wait(other, parted)
    one.up(stream)
    two.up(other)
    cuda.record(met, other)
    cuda.wait(stream, met)
    graph = cuda.end_capture(stream)
    stack.callback(cuda.destroy_graph, graph)
    for seed in (1, 2):
        one.array[...], two.array[...] = noise(NUM_BYTES, seed), noise(NUM_BYTES, 10 * seed)
        cuda.launch(graph, stream)
        cuda.synchronize(stream)
        one.array[...] = two.array[...] = 0
        one.down(stream)
        two.down(stream)
        cuda.synchronize(stream)
        np.testing.assert_array_equal(one.array, noise(NUM_BYTES, seed))
        np.testing.assert_array_equal(two.array, noise(NUM_BYTES, 10 * seed))


def test_a_stream_that_does_not_come_back_spoils_the_capture_only(
    cuda: CudaBindings, stream: int, stack: ExitStack
) -> None:
    staged, other, parted = Staged(cuda, stack), cuda.create_stream(), cuda.create_event()
    stack.callback(cuda.destroy_stream, other)
    stack.callback(cuda.destroy_event, parted)
    cuda.begin_capture(stream)
    cuda.record(parted, stream)
    cuda.wait(other, parted)
    staged.up(other)
    with pytest.raises(EngineError, match="cannot capture the work on cuda:0: CUDA_ERROR_STREAM"):
        cuda.end_capture(stream)
    staged.up(stream)
    cuda.synchronize(stream)


def test_other_threads_share_the_context(cuda: CudaBindings, stream: int, stack: ExitStack) -> None:
    staged, done = Staged(cuda, stack), []

    def work() -> None:
        staged.up(stream)
        cuda.synchronize(stream)
        cuda.free(cuda.allocate(100))
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


@pytest.mark.parametrize(
    ("height", "width"),
    [(224, 224), (1080, 1920), (720, 1280), (767, 1022), (3456, 5184), (100, 100), (100, 1000)],
)
@pytest.mark.parametrize("side_px", [32, 224])
def test_the_resize_is_network_image(
    cuda: CudaBindings, stream: int, stack: ExitStack, height: int, width: int, side_px: int
) -> None:
    image_HWC = noise((height, width, 3))
    large = Staged(cuda, stack, image_HWC.nbytes)
    small = Staged(cuda, stack, 3 * side_px**2)
    resizer = Resizer(cuda, side_px)
    stack.callback(resizer.close)
    large.array[...] = image_HWC.ravel()
    large.up(stream)
    resizer(large.there, height, width, small.there, stream)
    small.down(stream)
    cuda.synchronize(stream)
    small_HWC = small.array.reshape(side_px, side_px, 3).astype(int)
    # As in tests/runtime/cuda/test_resize.py: ties.
    assert np.abs(small_HWC - network_image(image_HWC, side_px)).max() <= 1


def test_the_resize_can_be_captured(cuda: CudaBindings, stream: int, stack: ExitStack) -> None:
    """Before it was ever launched: nothing of it is loaded late."""
    large, small = Staged(cuda, stack, 3 * 480 * 640), Staged(cuda, stack, 3 * 224 * 224)
    resizer = Resizer(cuda, 224)
    stack.callback(resizer.close)
    cuda.begin_capture(stream)
    resizer(large.there, 480, 640, small.there, stream)
    graph = cuda.end_capture(stream)
    stack.callback(cuda.destroy_graph, graph)
    large.array[...] = 9
    large.up(stream)
    cuda.launch(graph, stream)
    small.down(stream)
    cuda.synchronize(stream)
    assert set(small.array.tolist()) == {9}


def test_torch_takes_device_memory_by_dlpack(
    cuda: CudaBindings, stream: int, stack: ExitStack, torch_cuda: ModuleType
) -> None:
    class Owner:
        pass

    owner = Owner()
    gone = weakref.ref(owner)
    staged = Staged(cuda, stack, 24)
    staged.array.view("float32")[...] = np.arange(6)
    staged.up(stream)
    cuda.synchronize(stream)
    made = capsule(staged.there, (2, 3), "float32", cuda.index, owner)
    tensor = torch_cuda.utils.dlpack.from_dlpack(made)
    del owner, made
    assert (tensor.data_ptr(), str(tensor.device)) == (staged.there, "cuda:0")
    assert tensor.cpu().tolist() == [[0, 1, 2], [3, 4, 5]]
    tensor.add_(1)
    torch_cuda.cuda.synchronize()
    staged.down(stream)
    cuda.synchronize(stream)
    assert staged.array.view("float32").tolist() == [1, 2, 3, 4, 5, 6]
    assert gone() is not None
    del tensor
    gc.collect()
    assert gone() is None


def in_new_process(code: str) -> str:
    """What the code prints; a crash of the driver ends that process only."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_asking_makes_no_context(needs_gpu: None) -> None:
    printed = in_new_process("""
from ckd.runtime.cuda.presence import why_no_gpu
print(why_no_gpu())
from cuda.bindings import driver
print(driver.cuDevicePrimaryCtxGetState(0)[2], int(driver.cuCtxGetCurrent()[1]))
""")
    assert printed.split() == ["None", "0", "0"]


def test_an_applications_own_context_is_used_and_its_end_is_survived(needs_gpu: None) -> None:
    printed = in_new_process("""
from cuda.bindings import driver
from ckd.contract.errors import EngineError
from ckd.runtime.cuda.bindings import open_cuda
from ckd.runtime.cuda.resize import Resizer
driver.cuInit(0)
create = (None, 0, 0) if driver.CUDA_VERSION >= 13000 else (0, 0)
error, context = driver.cuCtxCreate(*create)
assert not int(error), error
cuda = open_cuda("cuda:0")
stream, memory, pinned = cuda.create_stream(), cuda.allocate(3 << 20), cuda.allocate_pinned(10)
resizer = Resizer(cuda, 224)
resizer(memory, 480, 640, memory + (1 << 20), stream)
cuda.synchronize(stream)
print(cuda.is_primary, driver.cuDevicePrimaryCtxGetState(0)[2])
print(int(driver.cuCtxGetCurrent()[1]) == int(context))
assert not int(driver.cuCtxDestroy(context)[0])
for again in (False, True):
    if again:
        assert not int(driver.cuCtxCreate(*create)[0])
    for use in (lambda: cuda.synchronize(stream), lambda: cuda.allocate(10)):
        try:
            use()
        except EngineError as error:
            print("the application destroyed it" in str(error))
resizer.close()
cuda.free(memory)
cuda.free_pinned(pinned)
cuda.destroy_stream(stream)
print(open_cuda().allocate(10) > 0)
""")
    assert printed.split() == ["False", "0", *["True"] * 6]


def test_a_broken_kernel_is_said_and_the_rest_is_released_in_silence(needs_gpu: None) -> None:
    printed = in_new_process("""
from ckd.contract.errors import EngineError
from ckd.runtime.cuda.bindings import open_cuda
from ckd.runtime.cuda.resize import Resizer
cuda = open_cuda("cuda:0")
stream, memory = cuda.create_stream(), cuda.allocate(10)
resizer = Resizer(cuda, 224)
resizer(16, 480, 640, 16, stream)
try:
    cuda.synchronize(stream)
except EngineError as error:
    print(error)
resizer.close()
cuda.free(memory)
cuda.destroy_stream(stream)
""")
    assert "CUDA_ERROR_ILLEGAL_ADDRESS; a kernel touched memory" in printed
    assert "restart the process" in printed
