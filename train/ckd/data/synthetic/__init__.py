"""Generated dermoscopy, for tests, demonstrations and benchmarks."""
