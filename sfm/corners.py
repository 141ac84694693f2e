"""Where to start tracks: corners (Shi and Tomasi 1994) spread over a grid of cells, so that no wall is left bare."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, slots=True)
class Grid:
    """Square cells over a picture of size (width, height), and how many tracks each should hold."""

    size: tuple[int, int]
    cells_across: int
    max_tracks: int

    @property
    def cell(self) -> float:
        """Side of a cell, px."""
        return self.size[0] / self.cells_across

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return max(int(np.ceil(self.size[1] / self.cell)), 1), self.cells_across

    @property
    def quota(self) -> int:
        """Tracks a cell should hold."""
        return max(int(np.ceil(self.max_tracks / (self.shape[0] * self.shape[1]))), 1)

    def count(self, xy: np.ndarray) -> np.ndarray:
        """Points xy (n, 2) in each cell, (rows, columns)."""
        return np.bincount(self._cell_of(xy), minlength=self.shape[0] * self.shape[1]).reshape(self.shape)

    def first(self, corners: np.ndarray, room: np.ndarray) -> np.ndarray:
        """Of corners (n, 2), strongest first, no more in a cell than it has room (rows, columns) for."""
        key = self._cell_of(corners)
        order = np.argsort(key, kind="stable")
        rank = np.empty(len(key), int)
        rank[order] = np.arange(len(key)) - np.searchsorted(key[order], key[order])
        return corners[rank < room.ravel()[key]]

    def _cell_of(self, xy: np.ndarray) -> np.ndarray:
        rows, columns = self.shape
        column, row = (xy // self.cell).astype(int).clip(0, (columns - 1, rows - 1)).T
        return row * columns + column


def discs(shape: tuple[int, ...], xy: np.ndarray, radius: int) -> np.ndarray:
    """A picture (height, width), True within `radius` px of points xy (n, 2)."""
    picture = np.zeros(shape, np.uint8)
    for x, y in np.rint(xy).astype(int).tolist():
        cv2.circle(picture, (x, y), radius, 1, -1)
    return picture > 0
