"""Whether this process can use a GPU, asked without loading what a GPU needs."""


def why_no_gpu() -> str | None:
    """What keeps this process from a CUDA device, with the remedy; None if nothing does."""
    from ckd.runtime.cuda.bindings import why_unusable

    return why_unusable()
