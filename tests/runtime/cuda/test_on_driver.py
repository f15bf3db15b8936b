"""The runner on the real cuda-bindings: what it passes them is what they take.

The driver below them is not real and does copies at once, so order is tested elsewhere.
"""

import textwrap
from collections.abc import Callable

import pytest

Run = Callable[..., str]

#: Two engines that copy: of the image's 48 bytes the first 16 are one answer, and from the second
#: byte on the other.
SETUP = """
    from ckd.contract.spec import CascadeSpec, NodeSpec, OutputSpec
    from ckd.contract.wiring import IMAGE
    from ckd.runtime.cuda.memory import CudaBuffer
    from ckd.runtime.cuda.runner import CudaRunner

    SHAPES = {IMAGE: (1, 4, 4, 3), "coarse": (1, 1, 2, 2), "mask": (1, 1, 2, 2)}
    spec = CascadeSpec(
        name="copies", system="copies", labels=("a", "b"), tasks=(), shapes=SHAPES,
        dtypes={n: {"fp32": "uint8" if n == IMAGE else "float32"} for n in SHAPES},
        nodes=(
            NodeSpec("first", (IMAGE,), ("coarse",), {"fp32": "a.onnx"}),
            NodeSpec("second", (IMAGE, "coarse"), ("mask",), {"fp32": "b.onnx"}),
        ),
        outputs=OutputSpec(mask_logits="mask", coarse_logits="coarse"),
    )

    class Copying:
        inputs = outputs = ()
        def __init__(self, to, skip):
            self.to, self.skip = to, skip
        def enqueue(self, stream=0):
            device.copy(self.to.address, buffers[IMAGE].address + self.skip, 16, stream)

    device = cuda.open_cuda()
    free = device.free_bytes()
    buffers = {n: CudaBuffer(spec.tensor(n, "fp32"), device) for n in SHAPES}
    engines = {"first": Copying(buffers["coarse"], 0), "second": Copying(buffers["mask"], 1)}
    runner = CudaRunner(device, spec, engines, buffers)

    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (1, 4, 4, 3), np.uint8) for _ in range(5)]

    def right(image, answers):
        sent = image.tobytes()
        return answers["coarse"].tobytes() == sent[:16] and answers["mask"].tobytes() == sent[1:17]

    def close():
        runner.close()
        for buffer in buffers.values():
            buffer.close()
        print(device.free_bytes() == free)
"""


@pytest.fixture
def on_copying_cascade(on_fake_driver: Run) -> Run:
    """Runs code after `SETUP`; gives what is printed."""

    def run(code: str, before: str = "", **settings: object) -> str:
        whole = "\n".join(map(textwrap.dedent, (before, SETUP, code)))
        return on_fake_driver(whole, **settings)

    return run


def test_frames_one_by_one(on_copying_cascade: Run) -> None:
    printed = on_copying_cascade("""
        print(all(right(image, runner.run(image, lambda step: None)) for image in images))
        close()
    """)
    assert printed.split() == ["True", "True"]


def test_a_stream_of_frames(on_copying_cascade: Run) -> None:
    printed = on_copying_cascade("""
        print([right(*pair) for pair in zip(images, runner.stream(images))])
        close()
    """)
    assert printed.splitlines() == [str([True] * 5), "True"]


def test_an_image_on_the_device(on_copying_cascade: Run) -> None:
    printed = on_copying_cascade("""
        from ckd.contract.tensors import TensorSpec
        given = CudaBuffer(TensorSpec("photograph", (4, 4, 3), "uint8"), device)
        for image in images:
            given.write(image[0])
            outputs = runner.run_device(given)
            print(right(image, {name: buffer.read() for name, buffer in outputs.items()}), end=" ")
        given.close()
        close()
    """)
    assert printed.split() == ["True"] * 6


def test_a_graph_that_cannot_be_made(on_copying_cascade: Run) -> None:
    printed = on_copying_cascade(
        """
        print(all(right(image, runner.run(image, lambda step: None)) for image in images))
        close()
        """,
        FAIL="cuStreamEndCapture:901",
    )
    assert printed.split() == ["True", "True"]


def test_a_context_that_is_gone(on_copying_cascade: Run) -> None:
    printed = on_copying_cascade(
        """
        runner.run(images[0], lambda step: None)
        fake.fake_destroy()
        try:
            runner.run(images[0], print)
        except EngineError as error:
            print(error)
        runner.close()
        """,
        before="fake.fake_create(0)",  # an application's own, not the primary one
    )
    assert "the application destroyed it" in printed
    assert "preprocess" not in printed
