"""Plates of a shot as a viewer shows them: small, without the lens's distortion, read while one already looks."""

import threading
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from sfm.geometry.camera import Camera
from sfm.video import Video

QUALITY = 88  # of the JPEGs that are kept: hundreds of pictures would be gigabytes


class Plates:
    """Plates by frame index, (height, width, 3) uint8 RGB; None where they cannot be decoded, or are not read yet.

    A thread of its own reads them from the first to the last, as a movie is slow to seek in. camera: the lens of the
    shot; width: of the pictures, px, no more than the plate's; frames: which ones, rising, None for all. Without a
    video there is none.

    >>> video = Video.from_arrays([np.full((90, 160, 3), 50, np.uint8)] * 2)
    >>> plates = Plates(video, Camera.from_focal_px(100, 160, 90), 80)
    >>> plates.wait()
    >>> plates[0].shape, plates.read
    ((45, 80, 3), 2)
    """

    def __init__(self, video: Video | None, camera: Camera, width: int, frames: Sequence[int] | None = None):
        self.width = min(width, camera.width)
        self.height = max(1, round(self.width * camera.height / camera.width))
        self._frames = frames if frames is not None else range(0 if video is None else len(video))
        self._video = video if video is None or frames is None else video.only(frames)
        self._camera, self._stop = camera, threading.Event()
        self._jpegs: dict[int, bytes] = {}
        self._maps = (-1, None)
        self.read = 0  # frames that were come to
        self._thread = threading.Thread(target=self._read, daemon=True)
        if video is not None:
            self._thread.start()

    def __getitem__(self, frame: int) -> np.ndarray | None:
        jpeg = self._jpegs.get(frame)
        if jpeg is None:
            return None
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        return None if picture is None else np.ascontiguousarray(picture[..., ::-1])

    def __iter__(self) -> Iterator[int]:
        """Frames whose plate is there, in order."""
        return iter(sorted(self._jpegs))

    def wait(self) -> None:
        """Until all are read."""
        if self._video is not None:
            self._thread.join()

    def close(self) -> None:
        """Read no more."""
        self._stop.set()
        self.wait()

    def _read(self) -> None:
        for frame, (_, rgb) in zip(self._frames, self._video or (), strict=True):
            if self._stop.is_set():
                return
            if rgb is not None:
                self._jpegs[frame] = encode_jpeg(self._ideal(rgb, frame), QUALITY)
            self.read += 1

    def _ideal(self, rgb: np.ndarray, frame: int) -> np.ndarray:
        """A plate at this size as the ideal pinhole sees it, black where the lens saw nothing of that."""
        small = cv2.resize(rgb, (self.width, self.height), interpolation=cv2.INTER_AREA)
        if not len(self._camera.distortion):
            return small
        lens = frame if self._camera.batch else 0
        if self._maps[0] != lens:
            self._maps = (lens, _distorted_places(self._camera.at(lens), self.width, self.height))
        return cv2.remap(small, self._maps[1], None, cv2.INTER_LINEAR)  # pyright: ignore[reportCallIssue, reportArgumentType]


def encode_jpeg(rgb: np.ndarray, quality: int) -> bytes:
    """A picture as a JPEG."""
    return cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _distorted_places(camera: Camera, width: int, height: int) -> np.ndarray:
    """Where on a small plate the lens put what an ideal pinhole sees in each pixel: OpenCV's (height, width, 2)."""
    scale = np.array([width / camera.width, height / camera.height])
    middles = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1) + 0.5
    on_plane = camera.without_distortion().cam_from_img(middles / scale)
    in_cam = np.concatenate([on_plane, np.ones((height, width, 1))], axis=-1)
    return (camera.img_from_cam(in_cam) * scale - 0.5).astype(np.float32)
