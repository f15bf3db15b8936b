"""Dermoscopy that was made up, for tests, demonstrations and speed."""
