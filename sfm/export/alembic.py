"""A shot as Alembic (Ogawa): camera with a sample a frame and points, for Maya, Houdini, Nuke, Cinema 4D, Blender.

Written with `alembic3d`, unofficial bindings. Time is seconds, frame over rate: a program whose scene has
another rate puts frames elsewhere. Focal length in mm, film back in cm; no unit of length, no plate.
"""

from pathlib import Path

import numpy as np

from sfm.errors import require
from sfm.export.film_camera import FAR_M, METERS, NEAR_M, FilmCamera, FilmOptions
from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.video import Shot

NEEDS = ("alembic3d", "alembic3d", "alembic", "Alembic")  # as `require` is told


def write_alembic(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: FilmOptions = FilmOptions()
) -> None:
    """Write `/camera/cameraShape` and `/points`, whose ids are the tracks. Frames without a camera have no sample.

    Raises `InputError` when `path` cannot be written, `MissingDependencyError` without `alembic3d`.
    """
    require(*NEEDS)
    film = FilmCamera.of(reconstruction, shot, options)
    with replacing(path) as temporary:
        temporary.touch()  # says why where it cannot be written, which the archive does not
        try:
            _write(film, str(temporary))
        except RuntimeError as error:
            raise OSError(str(error)) from error


def _write(film: FilmCamera, path: str) -> None:
    # the archive is written when its last object is gone: no name of one may outlive this function
    import imath
    from alembic3d import Abc, AbcGeom

    archive = Abc.OArchive(path)
    # as an index: an object of its own these bindings do not take
    sampling = archive.addTimeSampling(_sampling(film.frame_numbers / film.shot.fps))
    transform = AbcGeom.OXform(archive.getTop(), "camera", sampling)
    lens = AbcGeom.OCamera(transform, "cameraShape", sampling)
    aperture = film.aperture_mm / 10
    for matrix, focal, offset in zip(film.matrices, film.focal_mm, film.window_offset, strict=True):
        placed, seen = AbcGeom.XformSample(), AbcGeom.CameraSample()
        placed.setMatrix(imath.M44d(*matrix.T.ravel().tolist()))
        transform.getSchema().set(placed)
        seen.setFocalLength(float(focal))
        seen.setHorizontalAperture(float(aperture[0]))
        seen.setVerticalAperture(float(aperture[1]))
        seen.setHorizontalFilmOffset(float(aperture[0] * offset[0]))
        seen.setVerticalFilmOffset(float(aperture[1] * offset[1]))
        seen.setNearClippingPlane(NEAR_M / METERS[film.options.unit])
        seen.setFarClippingPlane(FAR_M / METERS[film.options.unit])
        lens.getSchema().set(seen)
    places, ids = imath.V3fArray(len(film.points)), imath.IntArray(len(film.points))
    for i, (point, track) in enumerate(zip(film.points.tolist(), film.tracks.tolist(), strict=True)):
        places[i], ids[i] = imath.V3f(*point), track
    AbcGeom.OPoints(archive.getTop(), "points").getSchema().set(AbcGeom.OPointsSchemaSample(places, ids))


def _sampling(seconds: np.ndarray):
    from alembic3d import AbcCoreAbstract

    steps = np.diff(seconds)
    if len(steps) and np.ptp(steps) < 1e-9:
        return AbcCoreAbstract.TimeSampling(float(steps[0]), float(seconds[0]))
    times = AbcCoreAbstract.TimeVector()
    for moment in seconds.tolist():
        times.append(moment)
    acyclic = AbcCoreAbstract.TimeSamplingType(AbcCoreAbstract.AcyclicFlag.kAcyclic)
    return AbcCoreAbstract.TimeSampling(acyclic, times)
