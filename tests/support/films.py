"""What another program sees of a film that we wrote."""

from pathlib import Path

import cv2


def num_frames(path: Path) -> int:
    """Frames that OpenCV decodes."""
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count
