"""An engine out of the cache, built where it has none, as backends do it."""

import mmap
from collections.abc import Callable

from ckd.runtime.engine_cache import EngineCache, EngineKey


def fetch(
    cache: EngineCache, key: EngineKey, build: Callable[[], bytes | memoryview]
) -> mmap.mmap | bytes | memoryview:
    with cache.slot(key) as slot:
        file = slot.engine if slot.engine is not None else slot.keep(build())
    return file.content
