"""The real cuda-bindings on a driver that is not: every call, its arguments and its errors."""

from collections.abc import Callable

import pytest

Run = Callable[..., str]


def test_the_device_says_what_it_is(on_fake_driver: Run) -> None:
    printed = on_fake_driver("""
        device = cuda.open_cuda()
        p = device.properties()
        print(p.name, p.compute_capability, p.num_multiprocessors, p.total_bytes, p.driver_version)
        print(p.runtime_version >= 12060, device.free_bytes(), device.index, device.is_primary)
    """)
    assert printed.splitlines() == [
        "Fake GPU (9, 0) 132 1048576 13000",
        "True 1048576 0 True",
    ]


@pytest.mark.parametrize("stream", ["device.create_stream()", "0"])
def test_memory_goes_there_and_back(on_fake_driver: Run, stream: str) -> None:
    printed = on_fake_driver(f"""
        device = cuda.open_cuda("cuda:0")
        stream = {stream}
        there, pinned = device.allocate(1000), device.allocate_pinned(1000)
        array = device.host_array(pinned, (5, 50), "float32")
        array[...] = np.arange(250).reshape(5, 50)
        device.copy(there, pinned, 1000, stream)
        array[...] = 0
        device.copy(pinned, there, 1000, stream)
        device.synchronize(stream)
        print(array.sum(), array.dtype, array.flags.writeable, device.free_bytes())
        del array
        for release, handle in (
            (device.free, there), (device.free_pinned, pinned), (device.destroy_stream, stream),
        ):
            release(handle)
            release(0)
        print(device.free_bytes())
    """)
    assert printed.splitlines() == ["31125.0 float32 True 1047576", "1048576"]


def test_streams_and_events_are_of_the_kind_that_is_asked_for(on_fake_driver: Run) -> None:
    printed = on_fake_driver("""
        device = cuda.open_cuda()
        one, other = device.create_stream(), device.create_stream()
        start, end = device.create_event(timing=True), device.create_event(timing=True)
        device.record(start, one)
        device.wait(other, start)
        device.record(end, other)
        print(fake.fake_stream_flags(one), device.elapsed_ms(start, end))
        silent = device.create_event()
        device.record(silent, one)
        try:
            device.elapsed_ms(silent, end)
        except EngineError as error:
            print(error)
        for event in (start, end, silent):
            device.destroy_event(event)
    """)
    clock, refused = printed.splitlines()
    assert clock == "1 1.5"  # CU_STREAM_NON_BLOCKING
    assert "cannot take the time on cuda:0: CUDA_ERROR_INVALID_HANDLE" in refused


def test_captured_work_is_done_when_it_is_launched(on_fake_driver: Run) -> None:
    printed = on_fake_driver("""
        device = cuda.open_cuda()
        stream = device.create_stream()
        one, other = device.allocate_pinned(4), device.allocate_pinned(4)
        a, b = (device.host_array(address, (1,), "int32") for address in (one, other))
        a[0], b[0] = 1, 0
        device.begin_capture(stream)
        device.copy(other, one, 4, stream)
        graph = device.end_capture(stream)
        for a[0] in (2, 3):
            print(b[0], end=" ")
            device.launch(graph, stream)
        print(b[0])
        device.destroy_graph(graph)
        device.destroy_graph(0)
    """)
    assert printed == "0 2 3"


def test_a_capture_that_failed_leaves_the_stream_usable(on_fake_driver: Run) -> None:
    printed = on_fake_driver(
        """
        device = cuda.open_cuda()
        stream = device.create_stream()
        device.begin_capture(stream)
        try:
            device.end_capture(stream)
        except EngineError as error:
            print(error)
        device.synchronize(stream)
        """,
        FAIL="cuStreamEndCapture:901",
    )
    assert printed == (
        "cannot capture the work on cuda:0: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED; something that "
        "cannot be captured ran during the capture"
    )


def test_memory_is_on_the_device_that_allocated_it(on_fake_driver: Run) -> None:
    printed = on_fake_driver(
        """
        device = cuda.open_cuda("cuda:0")
        own, pinned = device.allocate(10), device.allocate_pinned(10)
        fake.fake_create(1)
        other = cuda.open_cuda("cuda:1")
        theirs, managed = other.allocate(10), other.allocate(10)
        fake.fake_manage(ctypes.c_uint64(managed))
        print([other.device_of(address) for address in (own, theirs + 9, managed, pinned)])
        other.free(theirs)
        print(other.device_of(theirs))
        """,
        COUNT=2,
    )
    assert printed.splitlines() == ["[0, 1, None, None]", "None"]


def test_full_memory_says_how_much_was_free(on_fake_driver: Run) -> None:
    printed = on_fake_driver("""
        device = cuda.open_cuda()
        held = device.allocate(1 << 19)
        try:
            device.allocate(1 << 20)
        except EngineError as error:
            print(error)
        device.free(held)
        device.free(device.allocate(1 << 20))
    """)
    assert printed.startswith(
        "cannot allocate 1.0 MiB on cuda:0, 0.5 MiB are free: CUDA_ERROR_OUT_OF_MEMORY; the GPU's "
        "memory is full"
    )


def test_full_memory_of_the_host_is_not_called_the_gpus(on_fake_driver: Run) -> None:
    printed = on_fake_driver(
        """
        device = cuda.open_cuda()
        try:
            device.allocate_pinned(1 << 20)
        except EngineError as error:
            print(error)
        """,
        FAIL="cuMemHostAlloc:2",
    )
    assert printed.startswith(
        "cannot page-lock 1.0 MiB of host memory for cuda:0: the machine's memory is full"
    )


def test_an_applications_own_context_is_used_and_kept(on_fake_driver: Run) -> None:
    printed = on_fake_driver(
        """
        fake.fake_create(1)
        device = cuda.open_cuda()
        print(device.index, device.is_primary, *map(fake.fake_primary_references, (0, 1)))
        device.free(device.allocate(10))
        cuda.open_cuda("cuda:1")
        try:
            cuda.open_cuda("cuda:0")
        except CkdError as error:
            print(type(error).__name__, error)
        """,
        COUNT=2,
    )
    first, refused = printed.splitlines()
    assert first == "1 False 0 0"
    assert refused.startswith("UsageError cuda:0 was asked for, but this thread's CUDA context is")


def test_an_own_context_beside_an_active_primary_one_holds_neither(on_fake_driver: Run) -> None:
    printed = on_fake_driver("""
        cuda.open_cuda()
        before = fake.fake_primary_references(0)
        fake.fake_create(0)
        print(cuda.open_cuda().is_primary, fake.fake_primary_references(0) - before)
    """)
    assert printed == "False 0"


def test_a_primary_context_that_is_current_is_recognised(on_fake_driver: Run) -> None:
    printed = on_fake_driver("""
        cuda.open_cuda()
        again = cuda.open_cuda("cuda")
        print(again.is_primary, fake.fake_primary_references(0))
    """)
    assert printed == "True 2"


@pytest.mark.parametrize("then", ["", "fake.fake_create(0)", "fake.fake_create_at_same_address()"])
def test_a_destroyed_context_is_an_error_and_frees_what_it_held(
    on_fake_driver: Run, then: str
) -> None:
    printed = on_fake_driver(f"""
        fake.fake_create(0)
        device = cuda.open_cuda()
        stream, memory = device.create_stream(), device.allocate(10)
        fake.fake_destroy()
        {then}
        for use in (lambda: device.synchronize(stream), lambda: device.allocate(10)):
            try:
                use()
            except EngineError as error:
                print(error)
        device.free(memory)
        device.destroy_stream(stream)
        print(fake.fake_primary_references(0))
    """)
    *errors, references = printed.splitlines()
    assert len(errors) == 2
    assert all("the application destroyed it" in error for error in errors)
    assert references == "0"


def test_other_threads_share_the_primary_context(on_fake_driver: Run) -> None:
    printed = on_fake_driver("""
        import threading
        device = cuda.open_cuda()
        stream = device.create_stream()
        thread = threading.Thread(target=lambda: (device.synchronize(stream), print("done")))
        thread.start()
        thread.join()
    """)
    assert printed == "done"


def test_primary_memory_is_freed_while_another_context_is_current(on_fake_driver: Run) -> None:
    printed = on_fake_driver("""
        device = cuda.open_cuda()
        memory = device.allocate(10)
        fake.fake_create(0)
        device.free(memory)
        print(device.driver.cuMemGetInfo()[1], device.driver.cuCtxGetId(
            device.driver.cuCtxGetCurrent()[1])[1])
    """)
    assert printed == "1048576 2"  # the second context is still the current one


def test_a_primary_context_that_was_reset_is_an_error_and_closing_is_none(
    on_fake_driver: Run,
) -> None:
    """As after Numba's `cuda.close`: nothing is current, and the context cannot be made so."""
    printed = on_fake_driver("""
        device = cuda.open_cuda()
        memory = device.allocate(10)
        device.driver.cuCtxPopCurrent()
        fake.setenv(b"FAKE_CUDA_FAIL", b"cuCtxSetCurrent:709", 1)
        try:
            device.allocate(10)
        except EngineError as error:
            print(error)
        fake.setenv(b"FAKE_CUDA_FAIL", b"cuCtxPushCurrent:709", 1)
        device.free(memory)
        fake.setenv(b"FAKE_CUDA_FAIL", b"cuCtxSetCurrent:700", 1)
        device.free(memory)
        print(int(device.driver.cuCtxGetCurrent()[1]))
    """)
    destroyed, current = printed.splitlines()
    assert "or the application destroyed it" in destroyed
    assert current == "0"


def test_in_a_context_that_an_error_has_lost_freeing_is_still_tried(on_fake_driver: Run) -> None:
    printed = on_fake_driver("""
        device = cuda.open_cuda()
        memory, other = device.allocate(10), device.allocate(10)
        fake.setenv(b"FAKE_CUDA_FAIL", b"cuCtxGetId:700", 1)
        device.free(memory)
        print(device.free_bytes())
        fake.fake_create(0)
        fake.setenv(b"FAKE_CUDA_FAIL", b"cuCtxPushCurrent:709", 1)
        device.free(other)
        print(device.driver.cuMemGetInfo()[1])
    """)
    assert printed.split() == ["1048566", "1048566"]


def test_what_a_kernel_broke_is_said_once(on_fake_driver: Run) -> None:
    """Freeing after it is silent: the memory is lost with the context."""
    printed = on_fake_driver(
        """
        import os
        device = cuda.open_cuda()
        stream, memory = device.create_stream(), device.allocate(10)
        try:
            device.synchronize(stream)
        except EngineError as error:
            print(error)
        fake.setenv(b"FAKE_CUDA_FAIL", b"cuMemFree:700", 1)
        device.free(memory)
        fake.setenv(b"FAKE_CUDA_FAIL", b"cuMemFree:1", 1)
        try:
            device.free(memory)
        except EngineError as error:
            print(error)
        """,
        FAIL="cuStreamSynchronize:700",
    )
    broken, bug = printed.splitlines()
    assert "cannot finish the work on cuda:0: CUDA_ERROR_ILLEGAL_ADDRESS" in broken
    assert "restart the process" in broken
    assert bug == "cannot release device memory on cuda:0: CUDA_ERROR_INVALID_VALUE"


@pytest.mark.parametrize(
    ("settings", "device", "expected"),
    [
        ({"INIT": 100}, "auto", "CUDA_ERROR_NO_DEVICE; the driver finds no CUDA device"),
        ({"INIT": 803}, "auto", "reboot after a driver update"),
        ({"INIT": 802}, "auto", "nvidia-fabricmanager"),
        ({"COUNT": 0}, "auto", "CUDA_VISIBLE_DEVICES"),
        ({"VERSION": 11080}, "auto", "offers CUDA 11.8"),
        ({"COUNT": 2}, "cuda:2", "CUDA offers cuda:0, cuda:1 here"),
        ({"FAIL": "cuDevicePrimaryCtxRetain:2"}, "cuda", "the GPU's memory is full"),
        ({"FAIL": "cuDevicePrimaryCtxRetain:46"}, "cuda", "another process holds the device"),
    ],
)
def test_an_unusable_machine_says_what_to_do(
    on_fake_driver: Run, settings: dict[str, object], device: str, expected: str
) -> None:
    printed = on_fake_driver(
        f"""
        from ckd.runtime.cuda.presence import why_no_gpu
        try:
            cuda.open_cuda("{device}")
        except CkdError as error:
            print(type(error).__name__, error)
        print(why_no_gpu())
        print(fake.fake_primary_references(0))
        """,
        **settings,
    )
    raised, why, references = printed.splitlines()
    assert raised.startswith("EnvironmentUnusable ")
    assert expected in raised
    assert references == "0"
    # What depends on the device asked for is no matter of the machine.
    assert why == ("None" if "cuda" in device else raised.removeprefix("EnvironmentUnusable "))


@pytest.mark.parametrize("device", ["cpu", "cuda:", "cuda:-1", "gpu", "cuda:0,1", ""])
def test_what_is_no_cuda_device_is_refused(device: str) -> None:
    from ckd.contract.errors import UsageError
    from ckd.runtime.cuda.bindings import open_cuda

    with pytest.raises(UsageError, match="expected auto, cuda or cuda:0"):
        open_cuda(device)
