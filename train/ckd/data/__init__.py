"""Data sets: official layouts, checks, augmentation, and generated dermoscopy."""
