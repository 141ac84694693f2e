"""A shot as a Python script for Blender (3.4 to 5): camera, plate in its background, points; run it in a new scene.

A script can do what no file Blender imports can: pixel aspect, frame range and rate of the scene, and a plate whose
frame 1001 is the scene's. Not anamorphic plates alone need that.
"""

import json
from pathlib import Path

import numpy as np

from sfm.export.film_camera import Z_UP, FilmCamera, FilmOptions
from sfm.files import replacing
from sfm.geometry.rotation import quaternion_from_rotation
from sfm.scene import Reconstruction
from sfm.video import Shot

_SCRIPT = '''"""Camera and points of a shot, by sfm. Blender: blender --python this_file.py, or its text editor."""
{comments}

import json
import os

import bpy

SHOT = json.loads(r"""{data}""")

scene = bpy.context.scene
scene.render.resolution_x, scene.render.resolution_y = SHOT["size"]
scene.render.resolution_percentage = 100
scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = SHOT["pixel_aspect"]
scene.render.fps, scene.render.fps_base = SHOT["fps"]
scene.frame_start, scene.frame_end = SHOT["frames"]

lens = bpy.data.cameras.new(SHOT["name"] + "_camera")
lens.sensor_fit, lens.sensor_width = "HORIZONTAL", SHOT["sensor_width"]
lens.clip_start, lens.clip_end = 0.01, 10000
camera = bpy.data.objects.new(lens.name, lens)
scene.collection.objects.link(camera)
scene.camera = camera
camera.rotation_mode = "QUATERNION"
for frame, place, turn, focal, shift in SHOT["keys"]:
    camera.location, camera.rotation_quaternion = place, turn
    lens.lens, (lens.shift_x, lens.shift_y) = focal, shift
    camera.keyframe_insert("location", frame=frame)
    camera.keyframe_insert("rotation_quaternion", frame=frame)
    for channel in ("lens", "shift_x", "shift_y"):
        lens.keyframe_insert(channel, frame=frame)


def curves(action):
    """Of an action, in Blender before and after its layers."""
    if hasattr(action, "fcurves"):
        return list(action.fcurves)
    return [c for layer in action.layers for strip in layer.strips for bag in strip.channelbags for c in bag.fcurves]


for animated in (camera, lens):
    for curve in curves(animated.animation_data.action):
        for key in curve.keyframe_points:
            key.interpolation = "LINEAR"

mesh = bpy.data.meshes.new(SHOT["name"] + "_points")
mesh.from_pydata(SHOT["points"], [], [])
scene.collection.objects.link(bpy.data.objects.new(mesh.name, mesh))

if os.path.exists(SHOT["plate"]):
    lens.show_background_images = True
    background = lens.background_images.new()
    background.alpha, background.frame_method = 1.0, "CROP"
    if SHOT["movie"]:
        background.source, background.clip = "MOVIE_CLIP", bpy.data.movieclips.load(SHOT["plate"])
        background.clip.frame_start = SHOT["movie_start"]
    else:
        image = bpy.data.images.load(SHOT["plate"])
        image.source = "SEQUENCE"
        background.image = image
        user, first, last = background.image_user, *SHOT["frames"]
        user.frame_start, user.frame_duration, user.frame_offset = first, last - first + 1, first - 1
'''


def write_blender(
    reconstruction: Reconstruction, shot: Shot, path: str | Path, options: FilmOptions = FilmOptions()
) -> None:
    """Write the script, in metres: Blender's unit. Frames without a camera get no key.

    Raises `InputError` when `path` cannot be written.
    """
    film = FilmCamera.of(reconstruction, shot, FilmOptions(options.sensor_mm))
    rotation = Z_UP @ film.world_from_cams.rotation
    place = film.world_from_cams.translation @ Z_UP.T
    turn = quaternion_from_rotation(rotation)
    # the same sign as the frame before: half-way between opposite ones lies another rotation
    turn[1:] *= np.cumprod(np.where(np.sum(turn[1:] * turn[:-1], axis=1) < 0, -1.0, 1.0))[:, None]
    shift = film.window_offset * [1, film.aperture_mm[1] / film.aperture_mm[0]]
    keys = zip(film.frame_numbers, place, turn, film.focal_mm, shift, strict=True)
    whole = max(round(shot.fps), 1)  # Blender: a whole rate over a base, 24 / 1.001
    aspect = film.pixel_aspect
    data = {
        "name": shot.name, "size": film.size.tolist(), "pixel_aspect": [max(aspect, 1.0), max(1 / aspect, 1.0)],
        "fps": [whole, whole / shot.fps], "frames": [int(shot.frame_numbers[0]), int(shot.frame_numbers[-1])],
        "sensor_width": float(film.aperture_mm[0]), "plate": film.first_plate, "movie": shot.is_movie,
        "movie_start": shot.first_frame,
        "points": (film.points @ Z_UP.T).round(7).tolist(),
        "keys": [[int(frame), *(np.asarray(value).tolist() for value in others)] for frame, *others in keys],
    }  # fmt: skip
    text = _SCRIPT.format(comments="\n".join(f"# {line}" for line in film.comments()), data=json.dumps(data))
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
