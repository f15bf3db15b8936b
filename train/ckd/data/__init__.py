"""Data sets: official layouts, checks, and generated dermoscopy. Nothing here needs PyTorch."""
