"""The line-up in docs/delivery.md: points and ground of a delivery through Blender's own camera, over the plate.

    sfm orient OUT && sfm export OUT --format vfx -o delivery
    .venv-bpy/bin/python docs/blender_lineup.py delivery/blender_shot.py 1072 docs/blender_lineup.jpg

Blender runs the script that `sfm` wrote, on a Python with the module bpy (`make test-dcc` builds one); Cycles draws.
"""

import os
import sys

import bpy
import numpy as np
from mathutils import Vector

DOT_PX, LARGER, SAMPLES = 2.2, 2, 16
GRID_M, LINE_M = 8, 0.012


def main(script: str, frame: int, picture: str) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    delivered = {"__name__": "__main__"}
    exec(compile(open(script, encoding="utf-8").read(), script, "exec"), delivered)
    scene, shot = bpy.context.scene, delivered["SHOT"]
    scene.frame_set(frame)
    add_spheres(scene, shot)
    add_ground(scene)
    drawn = render(scene)
    plate = bpy.data.images.load(shot["plate"].replace(str(shot["frames"][0]), str(frame)))
    save(over(drawn, plate), picture)


def add_spheres(scene, shot) -> None:
    """As large in the picture near and far, on every point in front of the camera."""
    camera = scene.camera.matrix_world
    px = shot["sensor_width"] / scene.camera.data.lens / shot["size"][0]
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=2, radius=1)
    ball = bpy.context.object.data
    ball.materials.append(glowing((1.0, 0.55, 0.02), 1.0))
    bpy.data.objects.remove(bpy.context.object)
    for point in map(Vector, shot["points"]):
        depth = -(camera.inverted() @ point).z
        if depth > 0:
            dot = bpy.data.objects.new("dot", ball)
            dot.location, dot.scale = point, [DOT_PX * depth * px] * 3
            scene.collection.objects.link(dot)


def add_ground(scene) -> None:
    """Lines a unit apart at height 0, in front of the camera's first place."""
    lines = bpy.data.curves.new("ground", "CURVE")
    lines.dimensions, lines.bevel_depth = "3D", LINE_M
    ends = [((k, 0, 0), (k, 2 * GRID_M, 0)) for k in range(-GRID_M, GRID_M + 1)]
    ends += [((-GRID_M, k, 0), (GRID_M, k, 0)) for k in range(2 * GRID_M + 1)]
    for pair in ends:
        spline = lines.splines.new("POLY")
        spline.points.add(1)
        for point, at in zip(spline.points, pair, strict=True):
            point.co = (*at, 1)
    lines.materials.append(glowing((0.1, 0.6, 1.0), 0.6))
    scene.collection.objects.link(bpy.data.objects.new("ground", lines))


def glowing(color, strength):
    made = bpy.data.materials.new("glowing")
    nodes = made.node_tree.nodes
    nodes.clear()
    light, out = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
    light.inputs["Color"].default_value, light.inputs["Strength"].default_value = (*color, 1), strength
    made.node_tree.links.new(light.outputs[0], out.inputs["Surface"])
    return made


def render(scene):
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", SAMPLES
    scene.cycles.use_denoising = False
    scene.render.film_transparent, scene.render.resolution_percentage = True, 100 * LARGER
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format, scene.render.filepath = "PNG", os.path.abspath("lineup.tmp.png")
    bpy.ops.render.render(write_still=True)
    drawn = bpy.data.images.load(scene.render.filepath)
    drawn.pixels[0]  # read before the file goes
    os.unlink(scene.render.filepath)
    return drawn


def over(drawn, plate):
    """The drawing over the plate, both as the files have them, (height, width, 4) from the bottom."""
    plate.scale(*drawn.size)
    top, below = (np.array(image.pixels[:]).reshape(drawn.size[1], drawn.size[0], 4) for image in (drawn, plate))
    below[..., :3] += top[..., 3:] * (top[..., :3] - below[..., :3])
    return below


def save(pixels, path: str) -> None:
    made = bpy.data.images.new("lineup", pixels.shape[1], pixels.shape[0])
    made.pixels = pixels.ravel().tolist()
    made.file_format, made.filepath_raw = "JPEG", os.path.abspath(path)
    made.save(quality=80)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    os._exit(0)  # bpy's own way out takes its time, and sometimes falls
