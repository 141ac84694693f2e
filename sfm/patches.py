"""First appearances of tracks and their affine match with a later frame, all tracks at once.

Inverse compositional Lucas-Kanade (Baker and Matthews 2004, section 3.2.2) with an affine warp; gain and offset of the
brightness are projected out of the steepest-descent images (Hager and Belhumeur 1998).
A patch across a depth edge follows a bit of both sides; its halves then want to move apart, and that tells.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from sfm.threads import in_threads

_MAX_ITERATIONS = 4
_CONVERGED_PX = 0.05  # a match that moved less is done: the next step is a small part of the last
_PER_TRACK = ("template", "descent", "inverse_hessian", "halves", "affine", "whitening")
_PART = 256  # patches matched together: a part stays in the cache
_NOISE_RATIO = 170.0  # grey levels by which a pixel looks different later, over the px by which any match is off
_MIN_PRECISION = 0.05  # along a straight edge, beside across it


@dataclass(slots=True, eq=False)
class Patches:
    """Squares of n tracks as they first appeared, with all that matching needs precomputed.

    template (n, p) of zero mean and unit norm; descent (n, 6, p) steepest-descent images, orthogonal to brightness
    changes; inverse_hessian (n, 6, 6); halves (n, 4, 2, 2) takes what is left of a match along the first two descent
    images to the shifts its left, right, upper and lower half ask for; affine (n, 2, 2) current warp; whitening
    (n, 2, 2) as in `Tracks`.
    """

    radius: int
    template: np.ndarray
    descent: np.ndarray
    inverse_hessian: np.ndarray
    halves: np.ndarray
    affine: np.ndarray
    whitening: np.ndarray

    def __len__(self) -> int:
        return len(self.template)

    def __getitem__(self, keep: slice | np.ndarray) -> "Patches":
        return Patches(self.radius, *(getattr(self, name)[keep] for name in _PER_TRACK))

    @classmethod
    def empty(cls, radius: int) -> "Patches":
        """No patch yet."""
        p = (2 * radius + 1) ** 2
        zeros = (np.zeros((0, *shape), np.float32) for shape in ((p,), (6, p), (6, 6), (4, 2, 2), (2, 2), (2, 2)))
        return cls(radius, *zeros)

    def joined(self, *others: "Patches") -> "Patches":
        """These patches and then the others'."""
        values = ([getattr(patches, name) for patches in (self, *others)] for name in _PER_TRACK)
        return Patches(self.radius, *(np.concatenate(parts) for parts in values))

    def keep(self, kept: np.ndarray) -> np.ndarray:
        """Forget all but the kept, (n,) bool, in place: to copy the few at the end into the gaps costs little.

        Returns which patch now stands where: indices into the order before.
        """
        count = int(kept.sum())
        gaps, spare = np.flatnonzero(~kept[:count]), count + np.flatnonzero(kept[count:])
        for name in _PER_TRACK:
            values = getattr(self, name)
            values[gaps] = values[spare]
            setattr(self, name, values[:count])
        order = np.arange(count)
        order[gaps] = spare
        return order

    @classmethod
    def cut(cls, image: np.ndarray, xy: np.ndarray, radius: int) -> "Patches":
        """First appearances around integer pixel positions xy (n, 2) of a float32 image (h, w)."""
        return cls.empty(radius).joined(*in_threads(lambda part: cls._cut(image, xy[part], radius), _parts(len(xy))))

    @classmethod
    def _cut(cls, image: np.ndarray, xy: np.ndarray, radius: int) -> "Patches":
        u, v = _offsets(radius)
        column, row = xy[:, :1].astype(int) + u.astype(int), xy[:, 1:].astype(int) + v.astype(int)
        gx = 0.5 * (_at(image, row, column + 1) - _at(image, row, column - 1))
        gy = 0.5 * (_at(image, row + 1, column) - _at(image, row - 1, column))
        template, norm = _normalised(_at(image, row, column))
        descent = np.stack([gx, gy, gx * u, gx * v, gy * u, gy * v], axis=1) / norm[:, None, None]
        descent -= descent.mean(2, keepdims=True)
        descent -= (descent @ template[:, :, None]) * template[:, None, :]
        hessian = (descent @ descent.transpose(0, 2, 1)).astype(float)
        # a straight edge leaves directions without information: keep the step finite there
        hessian += 1e-4 * np.einsum("nii->n", hessian)[:, None, None] / 6 * np.diag([1, 1, *[radius**2 / 3] * 4])
        inverse = np.linalg.inv(hessian).astype(np.float32)
        affine = np.broadcast_to(np.eye(2, dtype=np.float32), (len(xy), 2, 2)).copy()
        halves = _half_shifts(descent[:, :2], _half_masks(radius))
        return cls(radius, template, descent, inverse, halves, affine, _whitening(np.stack([gx, gy], axis=1)))

    def refine(
        self, image: np.ndarray, xy: np.ndarray, active: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Match each active track's first appearance near xy (n, 2) in a float32 image.

        Returns refined positions (n, 2), affine warps (n, 2, 2), the correlation reached (n,), -1 where not active or
        where the match ran away, and the split (n,): px by which opposite halves want to move apart.
        """
        xy, affine = xy.astype(np.float32), self.affine.copy()
        correlation, split = np.full(len(xy), -1.0), np.zeros(len(xy))
        parts = _parts(len(xy))
        matches = in_threads(lambda part: self[part]._match(image, xy[part], active[part]), parts)
        for part, match in zip(parts, matches, strict=True):
            xy[part], affine[part], correlation[part], split[part] = match
        return xy, affine, correlation, split

    def _match(
        self, image: np.ndarray, xy: np.ndarray, active: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`refine` for all of these patches, in one thread."""
        affine, lost = self.affine.copy(), ~active
        u, v = _offsets(self.radius)
        todo = np.flatnonzero(active)
        xy, off = xy.copy(), np.zeros_like(self.template)  # how each patch differed when last looked at
        for _ in range(_MAX_ITERATIONS):
            if not len(todo):
                break
            A, p = affine[todo], xy[todo]
            off[todo] = _seen(image, p, A, u, v) - self.template[todo]
            # for all patches: to copy those on the move would take longer than to multiply the others too
            step = (self.inverse_hessian @ (self.descent @ off[:, :, None]))[todo, :, 0]
            change = np.eye(2, dtype=np.float32) + step[:, 2:].reshape(-1, 2, 2)
            determinant = change[:, 0, 0] * change[:, 1, 1] - change[:, 0, 1] * change[:, 1, 0]
            sane = (determinant > 0.5) & (determinant < 2) & (np.abs(step[:, :2]) < self.radius).all(1)
            lost[todo[~sane]] = True
            change[~sane], step[~sane], determinant[~sane] = np.eye(2), 0, 1
            adjugate = change[:, ::-1, ::-1].transpose(0, 2, 1) * np.array([[1, -1], [-1, 1]], np.float32)
            affine[todo] = A @ (adjugate / determinant[:, None, None])
            moved = (affine[todo] @ step[:, :2, None])[:, :, 0]
            xy[todo] = p - moved
            moving = sane & (np.linalg.norm(moved, axis=1) > _CONVERGED_PX)
            todo = todo[moving]
        if len(todo):  # still on the move; of the others the last step was too short to look again
            off[todo] = _seen(image, xy[todo], affine[todo], u, v) - self.template[todo]
        scale = np.linalg.det(affine)
        lost |= (scale < 0.3) | (scale > 3.0)
        # both have unit norm: |seen - template|^2 = 2 - 2 correlation
        correlation = np.where(lost, -1.0, 1 - 0.5 * np.einsum("np,np->n", off, off))
        pulls = (self.descent[:, :2] * off[:, None]).reshape(2 * len(off), off.shape[1])
        moments = (pulls @ _half_masks(self.radius).T).reshape(len(off), 2, 4)  # one product for all is the faster
        shifts = np.einsum("nhab,nbh->nha", self.halves, moments)
        split = np.linalg.norm(shifts[:, ::2] - shifts[:, 1::2], axis=2).max(1)
        return xy, affine, correlation, split


def _whitening(gradient: np.ndarray) -> np.ndarray:
    """How precise a match is along the two axes of its structure tensor, the better one 1, from gradients (n, 2, p).

    The variance along an axis is that of the brightness over the eigenvalue, and a floor common to both (Kanazawa and
    Kanatani 2001 ask when the first part may be left out: along a straight edge it is nearly all there is).
    """
    information, axes = np.linalg.eigh((gradient @ gradient.transpose(0, 2, 1)).astype(float))
    variance = 1 + _NOISE_RATIO**2 / np.maximum(information, 1e-3)
    precision = np.maximum(np.sqrt(variance[:, 1:] / variance), _MIN_PRECISION)
    return ((axes * precision[:, None]) @ axes.transpose(0, 2, 1)).astype(np.float32)


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _PART) for start in range(0, count, _PART)]


@cache
def _offsets(radius: int) -> tuple[np.ndarray, np.ndarray]:
    side = np.arange(-radius, radius + 1, dtype=np.float32)
    u, v = (each.reshape(1, -1) for each in np.meshgrid(side, side))
    for each in (u, v):
        each.setflags(write=False)  # they are everybody's
    return u, v


def _seen(image: np.ndarray, xy: np.ndarray, affine: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The image under warped patches, (n, p), normalised."""
    grid = np.concatenate([u, v, np.ones_like(u)])
    x, y = (np.column_stack([affine[:, k], xy[:, k]]) @ grid for k in (0, 1))
    return _normalised(cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))[0]


@cache
def _half_masks(radius: int) -> np.ndarray:
    """Left, right, upper and lower half of a patch, (4, p), 0 or 1; the middle line belongs to none."""
    u, v = _offsets(radius)
    masks = np.concatenate([u < 0, u > 0, v < 0, v > 0]).astype(np.float32)
    masks.setflags(write=False)
    return masks


def _half_shifts(gradient: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Inverse second moments of the gradients (n, 2, p) in each half, (n, 4, 2, 2).

    Zero for a pair of halves when one of them has too little texture to say.
    """
    moments = np.einsum("nap,nbp,hp->nhab", gradient, gradient, masks, optimize=True)
    clear = np.linalg.eigvalsh(moments)[:, :, 0] > 0.02 * (gradient**2).sum((1, 2))[:, None]
    pair = np.repeat(clear[:, ::2] & clear[:, 1::2], 2, axis=1)
    inverse = np.linalg.inv(moments + 1e-9 * np.eye(2, dtype=np.float32))
    return (inverse * pair[:, :, None, None]).astype(np.float32)


def _at(image: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    return image[row.clip(0, image.shape[0] - 1), column.clip(0, image.shape[1] - 1)]


def _normalised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zero mean, unit norm along the last axis; and the norms."""
    p = values.shape[-1]
    values = values - (values @ np.full(p, 1 / p, values.dtype))[..., None]
    norm = np.maximum(np.sqrt(np.einsum("...p,...p->...", values, values)), 1e-3)
    values /= norm[..., None]
    return values, norm
