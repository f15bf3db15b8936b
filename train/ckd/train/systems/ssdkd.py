"""SSD-KD (Wang et al., Medical Image Analysis 2023): a small classifier taught by a large one.

    image ─┬─► teacher ──teacher_map─┬─► teacher_head ──► teacher_embedding
           │         └► teacher_logits
           └─► student ──student_map─┬─► connector ──► hint
                     └► logits       └─► student_head ──► student_embedding

Only the student's logits are an output of the system, so only the student is deployed.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import ConfigDict

from ckd.contract.errors import UsageError
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.train.networks.classifier import Classifier
from ckd.train.networks.distillation import ConvReg, EmbeddingHead
from ckd.train.networks.pretrained import Weights
from ckd.train.settings import STRICT
from ckd.train.systems.graph import Node, System


@dataclass(frozen=True, slots=True, kw_only=True)
class SsdKd:
    """A student and its teacher. Defaults are those of the paper.

    ``teacher`` and ``student`` are torchvision's names of classifiers; without a teacher the
    student learns alone. ``connector`` brings the student's last map to the number of the teacher's
    channels, and ``embeddings`` are the two heads of the self-supervision; methods that do not use
    them leave them out.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    about: ClassVar[str] = "student of SSD-KD (Wang et al. 2023), or of what it is compared with"

    kind: Literal["ssdkd"] = "ssdkd"
    teacher: str | None = "resnet50"
    student: str = "mobilenet_v2"
    connector: bool = True
    embeddings: bool = True

    def __post_init__(self) -> None:
        if self.teacher is None and (self.connector or self.embeddings):
            raise ValueError(
                "connector and embeddings compare the student with a teacher; name a teacher, or "
                "set both to false"
            )

    def build(
        self, labels: tuple[str, ...], tasks: tuple[str, ...], image_size: int, weights: Weights
    ) -> System:
        """The system, both encoders initialised with ``weights`` (see `imagenet_network`).

        Raises:
            UsageError: torchvision has no such classifier, or it does not take images of this size.
            EnvironmentUnusable: the weights can be neither fetched nor read.
        """
        with _separate_draws("student"):
            student = Classifier(self.student, len(labels), weights)
        _check_size(self.student, student, image_size)
        nodes = [Node("student", student, (IMAGE,), ("logits", "student_map"))]
        if self.teacher is not None:
            with _separate_draws("teacher"):
                teacher = Classifier(self.teacher, len(labels), weights)
            _check_size(self.teacher, teacher, image_size)
            nodes.insert(0, Node("teacher", teacher, (IMAGE,), ("teacher_logits", "teacher_map")))
            width, teacher_width = student.encoder.channels, teacher.encoder.channels
        if self.connector:
            regressor = ConvReg(width, teacher_width)
            nodes.append(Node("connector", regressor, ("student_map",), ("hint",)))
        if self.embeddings:
            with _separate_draws("teacher_head"):
                head = EmbeddingHead(teacher_width)
            nodes.append(Node("teacher_head", head, ("teacher_map",), ("teacher_embedding",)))
            head = EmbeddingHead(width)
            nodes.append(Node("student_head", head, ("student_map",), ("student_embedding",)))
        return System("ssdkd", nodes, labels, tasks, image_size, OutputSpec("logits"))


def _check_size(name: str, classifier: Classifier, image_size: int) -> None:
    device = next(classifier.parameters()).device
    image_BCHW = torch.zeros(1, 3, image_size, image_size, device=device)
    try:
        with torch.no_grad():
            classifier.eval()(image_BCHW)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"{name} cannot take images of {image_size} px ({error}); choose another network, or "
            "other images with --set image_size=N, such as 224"
        ) from error


@contextmanager
def _separate_draws(name: str) -> Iterator[None]:
    """Draw random numbers that depend only on the seed and the name, without shifting later draws.

    A network is then initialised alike in every method, whatever other networks the method has.
    """
    key = hashlib.sha256(f"{torch.initial_seed()} {name}".encode()).digest()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(int.from_bytes(key[:7], "big"))
        yield
