"""A shot as OpenUSD: a camera with a key for every frame and the points with what is known of them.

Time codes are plate frame numbers; lens values are tenths of a scene unit, as USD counts them. One matrix a frame, no
Euler angles. Read by Blender, Houdini, Maya, Nuke's new 3D system, Unreal.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sfm.errors import require
from sfm.export.film_camera import FAR_M, METERS, NEAR_M, FilmCamera, FilmOptions
from sfm.export.point_columns import point_columns
from sfm.files import replacing
from sfm.scene import Reconstruction
from sfm.video import Shot

NEEDS = ("pxr", "usd-core", "usd", "USD")  # as `require` is told


def write_usd(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: FilmOptions = FilmOptions()
) -> None:
    """Write `/shot/camera` and `/shot/points`: binary for `.usd` and `.usdc`, text for `.usda`.

    Points carry `ids` (the tracks), colours, widths, and as primvars what `point_columns` says. Frames without a camera
    have no key: USD interpolates there, and the root's documentation lists them. Raises `InputError` when `path` cannot
    be written, `MissingDependencyError` without `usd-core`.
    """
    require(*NEEDS)
    from pxr import Tf, Usd, UsdGeom

    film = FilmCamera.of(reconstruction, shot, options)
    stage = Usd.Stage.CreateInMemory(".usda")
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, METERS[options.unit])
    stage.SetFramesPerSecond(shot.fps)
    stage.SetTimeCodesPerSecond(shot.fps)
    stage.SetStartTimeCode(float(shot.frame_numbers[0]))
    stage.SetEndTimeCode(float(shot.frame_numbers[-1]))
    root = UsdGeom.Xform.Define(stage, "/shot")
    stage.SetDefaultPrim(root.GetPrim())
    root.GetPrim().SetDocumentation("\n".join(film.comments()))

    _define_camera(stage, film)
    _define_points(stage, film, point_columns(reconstruction, film.tracks))
    with replacing(path) as temporary, TemporaryDirectory(dir=temporary.parent, prefix=".usd-") as folder:
        # by its suffix USD tells the format
        named = Path(folder) / f"shot{Path(path).suffix or '.usd'}"
        try:
            stage.GetRootLayer().Export(str(named))
        except Tf.ErrorException as error:
            raise OSError(str(error)) from error
        named.rename(temporary)


def _define_camera(stage: Any, film: FilmCamera) -> None:
    from pxr import Gf, UsdGeom

    camera = UsdGeom.Camera.Define(stage, "/shot/camera")
    unit = 0.01 / METERS[film.options.unit]  # tenths of a scene unit in a millimetre
    aperture = unit * film.aperture_mm
    camera.CreateProjectionAttr(UsdGeom.Tokens.perspective)
    camera.CreateHorizontalApertureAttr(float(aperture[0]))
    camera.CreateVerticalApertureAttr(float(aperture[1]))
    camera.CreateClippingRangeAttr(Gf.Vec2f(NEAR_M / METERS[film.options.unit], FAR_M / METERS[film.options.unit]))
    keys = film.frame_numbers.astype(float).tolist()
    _animate(camera.CreateFocalLengthAttr(), keys, unit * film.focal_mm)
    _animate(camera.CreateHorizontalApertureOffsetAttr(), keys, aperture[0] * film.window_offset[:, 0])
    _animate(camera.CreateVerticalApertureOffsetAttr(), keys, aperture[1] * film.window_offset[:, 1])
    transform = camera.AddTransformOp()
    for key, matrix in zip(keys, film.matrices, strict=True):
        transform.Set(Gf.Matrix4d(matrix.T.tolist()), key)  # USD multiplies rows from the left


def _define_points(stage: Any, film: FilmCamera, known: dict[str, np.ndarray]) -> None:
    from pxr import Sdf, UsdGeom, Vt

    points = UsdGeom.Points.Define(stage, "/shot/points")
    points.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(film.points.astype(np.float32)))
    points.CreateIdsAttr(Vt.Int64Array.FromNumpy(film.tracks.astype(np.int64)))
    points.CreateWidthsAttr(Vt.FloatArray.FromNumpy(np.full(len(film.points), film.point_width, np.float32)))
    points.SetWidthsInterpolation(UsdGeom.Tokens.vertex)
    points.CreateExtentAttr(UsdGeom.Points.ComputeExtent(points.GetPointsAttr().Get(), points.GetWidthsAttr().Get()))
    # what a program shows is linear; what the plate stores is not
    linear = (film.colors.astype(np.float32) / 255) ** 2.2
    points.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(Vt.Vec3fArray.FromNumpy(linear.astype(np.float32)))
    primvars = UsdGeom.PrimvarsAPI(points)
    kinds, arrays = (Sdf.ValueTypeNames.FloatArray, Sdf.ValueTypeNames.IntArray), (Vt.FloatArray, Vt.IntArray)
    for name, values in known.items():
        whole = values.dtype == np.int32
        primvars.CreatePrimvar(name, kinds[whole], UsdGeom.Tokens.vertex).Set(arrays[whole].FromNumpy(values))


def _animate(attribute, keys: list[float], values: np.ndarray) -> None:
    """A key for every frame, or one value where it never changes."""
    if np.ptp(values) == 0:
        attribute.Set(float(values[0]))
        return
    for key, value in zip(keys, values.tolist(), strict=True):
        attribute.Set(value, key)
