"""Three furnished sets and a shot of each, made anew by Blender: pictures, true depth and true cameras.

usage: PYTHON benchmarks/sets.py OUT [SHOT ...] [--size 512x288] [--samples N]    PYTHON: one that has bpy

`room`: a slow push; `garden`: a small handheld pan; `workshop`: a sideways drift. Chairs, fences, plants, cables: much
of what is in front is a few pixels wide. Everything comes from a seed; no asset is read. Writes OUT/SHOT/frames/*.png,
OUT/SHOT/depth/*.exr (along the axis, one ray through the centre of each pixel) and OUT/SHOT/gt.json (OpenCV axes, the
first pixel's centre at (0.5, 0.5)). World axes: x right, y into the set, z up, in metres.
"""

import argparse
import json
import math
import random
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

FPS = 24
TEXELS, TILE = 512, 2.0  # of a texture along each side, and how many metres it covers
SHOTS = {
    "room": {
        "frames": 24, "hfov": 58, "eye": (0.1, 0, 1.35), "aim": (4, -8), "travel": (0.05, 0.26, 0.02),
        "turn": (1.0, 0.5), "sway": 0.003, "shake": 0.05,
    },
    "garden": {
        "frames": 24, "hfov": 46, "eye": (0, 0, 1.55), "aim": (-4, -7), "travel": (0.06, 0.02, 0), "turn": (5, 0.4),
        "sway": 0.03, "shake": 0.5,
    },
    "workshop": {
        "frames": 24, "hfov": 50, "eye": (-0.15, 0, 1.5), "aim": (1, -5), "travel": (0.32, 0.03, 0.01),
        "turn": (-0.8, 0), "sway": 0.004, "shake": 0.08,
    },
}  # fmt: skip


class Stage:
    """Puts textured solids into the scene; `at` is where the next ones belong."""

    def __init__(self, seed: int):
        self.rng, self.noise, self.at = random.Random(seed), np.random.default_rng(seed), Matrix.Identity(4)

    def paint(self, color, kind="worn", pitch=0.2):
        """A matt surface whose picture repeats every `TILE` metres: worn, planks, bricks, checks or print."""
        x, y = np.meshgrid(*[(np.arange(TEXELS) + 0.5) / TEXELS * TILE] * 2)
        shade = 0.55 + 0.9 * self._cloud()
        count = round(TILE / pitch)
        column, row = np.floor(x / TILE * count).astype(int), np.floor(y / TILE * count).astype(int)
        of_cell = self.noise.uniform(0.6, 1.2, (2 * count, 2 * count))
        if kind == "planks":
            shade = shade * of_cell[0, row] * np.where(np.mod(y, TILE / count) < 0.008, 0.2, 1)
        elif kind == "bricks":
            shifted = np.floor((x / TILE * count / 2 + 0.5 * (row % 2)) % (count // 2)).astype(int)
            seam = np.minimum(np.mod(y, TILE / count), np.mod(x + TILE / count * (row % 2), 2 * TILE / count))
            shade = shade * of_cell[row, shifted] * np.where(seam < 0.012, 1.5, 1)
        elif kind == "checks":
            shade = shade * np.where((row + column) % 2, 1.0, 0.35)
        elif kind == "print":
            shade = shade * self.noise.choice([0.5, 0.8, 1.0, 1.2], (count, count))[row, column]
        rgb = np.clip(shade[..., None] * color, 0, 1)
        image = bpy.data.images.new("texture", TEXELS, TEXELS)
        image.pixels.foreach_set(np.dstack([rgb, np.ones_like(shade)]).astype(np.float32).ravel())
        image.pack()
        material = bpy.data.materials.new("paint")
        material.use_nodes = True
        nodes, links = material.node_tree.nodes, material.node_tree.links
        nodes.clear()
        texture, matt, end = (nodes.new(f"ShaderNode{k}") for k in ("TexImage", "BsdfDiffuse", "OutputMaterial"))
        texture.image = image
        links.new(texture.outputs["Color"], matt.inputs["Color"])
        links.new(matt.outputs[0], end.inputs[0])
        return material

    def _cloud(self):
        """Noise of many sizes, 0..1, that repeats."""
        wave = np.hypot(*np.meshgrid(*[np.fft.fftfreq(TEXELS)] * 2))
        wave[0, 0] = 1
        found = np.fft.ifft2(np.fft.fft2(self.noise.standard_normal((TEXELS, TEXELS))) * wave**-0.75).real
        return np.clip(0.5 + 0.22 * found / found.std(), 0, 1)

    def solid(self, paint, corners, faces, uvs):
        """A mesh of corners (m), faces, and one (u, v) in m for each corner of a face."""
        mesh = bpy.data.meshes.new("part")
        mesh.from_pydata([self.at @ Vector(corner) for corner in corners], [], faces)
        shift = np.array([self.rng.random(), self.rng.random()])
        mesh.uv_layers.new().data.foreach_set("uv", (np.array(uvs) / TILE + shift).ravel())
        mesh.materials.append(paint)
        bpy.context.collection.objects.link(bpy.data.objects.new("part", mesh))

    def box(self, paint, size, middle, turn=0.0, lean=0.0):
        """A box, turned about z and leaning about x (degrees)."""
        before, turns = self.at, (Matrix.Rotation(math.radians(a), 4, k) for a, k in ((turn, "Z"), (lean, "X")))
        self.at = self.at @ Matrix.Translation(middle) @ next(turns) @ next(turns)
        corners = [tuple(0.5 * s * k for s, k in zip(size, (x, y, z), strict=True))
                   for z in (-1, 1) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]  # fmt: skip
        faces = [(0, 3, 2, 1), (4, 5, 6, 7), (0, 1, 5, 4), (2, 3, 7, 6), (1, 2, 6, 5), (3, 0, 4, 7)]
        axes = [(0, 1), (0, 1), (0, 2), (0, 2), (1, 2), (1, 2)]
        uvs = [(corners[k][a], corners[k][b]) for f, (a, b) in zip(faces, axes, strict=True) for k in f]
        self.solid(paint, corners, faces, uvs)
        self.at = before

    def pole(self, paint, start, end, radius, to_radius=None, sides=10):
        """A rod from here to there."""
        start, end = Vector(start), Vector(end)
        turn = (end - start).to_track_quat("Z", "Y").to_matrix()
        corners, length = [], (end - start).length
        for middle, r in ((start, radius), (end, radius if to_radius is None else to_radius)):
            corners += [tuple(middle + turn @ Vector((r * math.cos(a), r * math.sin(a), 0)))
                        for a in (2 * math.pi * k / sides for k in range(sides))]  # fmt: skip
        arc = 2 * math.pi * radius / sides
        faces = [(k, (k + 1) % sides, sides + (k + 1) % sides, sides + k) for k in range(sides)]
        uvs = [(arc * u, v) for k in range(sides) for u, v in ((k, 0), (k + 1, 0), (k + 1, length), (k, length))]
        for ring in (range(sides)[::-1], range(sides, 2 * sides)):
            faces.append(tuple(ring))
            uvs += [corners[k][:2] for k in ring]
        self.solid(paint, corners, faces, uvs)

    def leaves(self, paint, middle, size, count, leaf):
        """Leaves through an ellipsoid of half axes `size`, each a bent diamond."""
        corners, faces, uvs = [], [], []
        for k in range(count):
            way = Vector([self.rng.gauss(0, 1) for _ in range(3)]).normalized() * self.rng.uniform(0.4, 1)
            turn = Matrix.Rotation(self.rng.uniform(0, 6.3), 3, Vector([self.rng.gauss(0, 1) for _ in range(3)]))
            place, length = (
                Vector(m + s * w for m, s, w in zip(middle, size, way, strict=True)),
                leaf * self.rng.uniform(0.6, 1.3),
            )
            outline = ((0, -1, 0), (0.4, 0, 0.12), (0, 1, 0), (-0.4, 0, 0.12))
            corners += [tuple(place + turn @ Vector(corner) * length) for corner in outline]
            faces.append(tuple(range(4 * k, 4 * k + 4)))
            spot = self.rng.random(), self.rng.random()
            uvs += [(spot[0] + dx, spot[1] + dy) for dx, dy in ((0, 0), (0.05, 0.03), (0, 0.06), (-0.05, 0.03))]
        self.solid(paint, corners, faces, uvs)


def plant(s: Stage, x, y, height, spread=0.25):
    """A pot with a stem and leaves."""
    s.pole(s.paint((0.5, 0.25, 0.15)), (x, y, 0), (x, y, 0.3 * height), 0.11 * height, 0.15 * height, 16)
    s.pole(s.paint((0.25, 0.18, 0.1)), (x, y, 0.3 * height), (x, y, 0.8 * height), 0.015)
    s.leaves(s.paint((0.16, 0.33, 0.1)), (x, y, 0.75 * height), (spread, spread, 0.3 * height), 170, 0.09)


def chair(s: Stage, x, y, turn):
    """Four legs, a seat, a back of slats."""
    before, wood = s.at, s.paint((0.45, 0.27, 0.14), "planks", 0.1)
    s.at = Matrix.Translation((x, y, 0)) @ Matrix.Rotation(math.radians(turn), 4, "Z")
    s.box(wood, (0.42, 0.42, 0.04), (0, 0, 0.46))
    for i in (-1, 1):
        s.box(wood, (0.035, 0.035, 0.45), (0.18 * i, -0.18, 0.225))
        s.box(wood, (0.035, 0.035, 0.95), (0.18 * i, 0.18, 0.475))
    for z in (0.62, 0.75, 0.88):
        s.box(wood, (0.36, 0.02, 0.06), (0, 0.18, z))
    s.at = before


def table(s: Stage, x, y, size, turn=0.0):
    """Legs, a top, and things on it."""
    before, wood = s.at, s.paint((0.5, 0.33, 0.18), "planks", 0.125)
    s.at = Matrix.Translation((x, y, 0)) @ Matrix.Rotation(math.radians(turn), 4, "Z")
    s.box(wood, (*size, 0.04), (0, 0, 0.74))
    for i in (-1, 1):
        for j in (-1, 1):
            s.box(wood, (0.05, 0.05, 0.72), (i * (size[0] / 2 - 0.06), j * (size[1] / 2 - 0.06), 0.36))
    for _ in range(5):
        place = [s.rng.uniform(-0.4, 0.4) * extent for extent in size]
        color, tall = [s.rng.uniform(0.1, 0.8) for _ in range(3)], s.rng.uniform(0.06, 0.28)
        if s.rng.random() < 0.5:
            s.pole(s.paint(color), (*place, 0.76), (*place, 0.76 + tall), 0.04, 0.03, 14)
        else:
            s.box(s.paint(color, "print", 0.05), (0.2, 0.15, tall / 2), (*place, 0.76 + tall / 4), s.rng.uniform(0, 90))
    s.at = before


def shelf(s: Stage, x, y, width, height, turn=0.0):
    """Uprights and boards with books and boxes on them."""
    before, wood = s.at, s.paint((0.38, 0.25, 0.15), "planks", 0.1)
    s.at = Matrix.Translation((x, y, 0)) @ Matrix.Rotation(math.radians(turn), 4, "Z")
    for i in (-1, 1):
        s.box(wood, (0.035, 0.35, height), (i * width / 2, 0, height / 2))
    for level in range(int(height / 0.42) + 1):
        z, place = 0.08 + 0.42 * level, -width / 2 + 0.05
        s.box(wood, (width, 0.35, 0.025), (0, 0, z))
        while place < width / 2 - 0.12 and z < height - 0.3:
            wide = s.rng.choice((0.04, 0.05, 0.07, 0.2))
            tall = s.rng.uniform(0.16, 0.32)
            color = [s.rng.uniform(0.1, 0.8) for _ in range(3)]
            s.box(s.paint(color, "print", 0.04), (wide, 0.24, tall), (place + wide / 2, 0, z + 0.013 + tall / 2))
            place += wide + s.rng.choice((0.004, 0.004, 0.1))
    s.at = before


def room() -> None:
    """A dining room."""
    s = Stage(101)
    s.box(s.paint((0.42, 0.28, 0.17), "planks", 0.125), (9, 9, 0.1), (0, 3, -0.05))
    s.box(s.paint((0.55, 0.5, 0.4), "print", 0.1), (9, 0.1, 3), (0, 6.2, 1.5))
    for side in (-1, 1):
        s.box(s.paint((0.4, 0.48, 0.52), "print", 0.125), (0.1, 9, 3), (side * 2.9, 3, 1.5))
    s.box(s.paint((0.6, 0.2, 0.15), "checks", 0.25), (2.4, 2.0, 0.012), (0.2, 3.4, 0.006), 8)
    table(s, 0.4, 3.6, (1.3, 0.8), 12)
    for x, y, turn in ((-0.35, 2.6, 150), (1.15, 2.75, 205), (0.9, 4.5, -20), (-0.9, 4.2, 80)):
        chair(s, x, y, turn)
    shelf(s, -1.9, 5.9, 1.5, 2.1)
    shelf(s, 2.1, 5.9, 1.1, 1.7)
    plant(s, -1.35, 2.9, 1.25)
    plant(s, 1.9, 4.0, 1.0)
    iron = s.paint((0.12, 0.12, 0.13))
    s.pole(iron, (0.95, 1.9, 0), (0.95, 1.9, 1.55), 0.014)
    s.pole(s.paint((0.8, 0.7, 0.45), "print", 0.05), (0.95, 1.9, 1.5), (0.95, 1.9, 1.75), 0.17, 0.11, 20)
    for x, z, wide, tall in ((-0.4, 1.75, 0.7, 0.5), (0.75, 1.8, 0.45, 0.6)):
        s.box(s.paint((0.6, 0.5, 0.35), "print", 0.08), (wide, 0.04, tall), (x, 6.13, z))


def garden() -> None:
    """A walled garden."""
    s = Stage(202)
    s.box(s.paint((0.22, 0.35, 0.12), "print", 0.05), (40, 40, 0.1), (0, 15, -0.05))
    s.box(s.paint((0.5, 0.24, 0.17), "bricks", 0.1), (16, 0.4, 3.4), (-2, 10.5, 1.7), 6)
    s.box(s.paint((0.45, 0.47, 0.45), "bricks", 0.2), (1.4, 9, 0.02), (-1.1, 5.5, 0.01), 12)
    wood = s.paint((0.6, 0.55, 0.45), "planks", 0.1)
    for k in range(15):
        s.box(wood, (0.075, 0.02, 0.95), (-3.6 + 0.17 * k, 4.6 - 0.03 * k, 0.52), -10, s.rng.uniform(-1, 1))
    for z in (0.3, 0.8):
        s.box(wood, (2.6, 0.03, 0.05), (-2.4, 4.42, z), -10)
    bark = s.paint((0.3, 0.22, 0.15), "planks", 0.04)
    for x, y, tall in ((1.5, 5.6, 2.6), (-2.6, 7.5, 3.0)):
        s.pole(bark, (x, y, 0), (x + 0.1, y, tall), 0.13, 0.07, 14)
        for _ in range(7):
            a, z = s.rng.uniform(0, 6.3), tall * s.rng.uniform(0.5, 0.95)
            tip = (x + 0.9 * math.cos(a), y + 0.9 * math.sin(a), z + 0.5)
            s.pole(bark, (x + 0.05, y, z), tip, 0.03, 0.012)
            s.leaves(s.paint((0.2, 0.38, 0.12)), tip, (0.45, 0.45, 0.3), 90, 0.1)
    for x, y, r in ((0.55, 3.3, 0.3), (2.6, 6.5, 0.6), (-0.3, 8.6, 0.7), (3.6, 9.0, 0.9), (-4.5, 9.2, 0.8)):
        s.leaves(s.paint((0.15, 0.3, 0.1)), (x, y, 0.9 * r), (r, r, r), 500, 0.22 * r)
    table(s, 0.6, 6.6, (1.2, 0.7), -20)
    chair(s, -0.15, 6.0, 120)
    chair(s, 1.3, 7.2, -40)
    plant(s, -0.85, 2.7, 0.9, 0.2)
    iron = s.paint((0.15, 0.15, 0.15))
    s.pole(iron, (0.15, 4.4, 0), (0.15, 4.4, 1.9), 0.016)
    s.pole(iron, (0.15, 4.4, 1.85), (1.45, 5.5, 1.85), 0.006)


def workshop() -> None:
    """Racks, tables, a ladder, lamps on cables."""
    s = Stage(303)
    s.box(s.paint((0.42, 0.41, 0.4), "checks", 0.5), (12, 12, 0.1), (0, 4, -0.05))
    s.box(s.paint((0.5, 0.4, 0.3), "bricks", 0.125), (12, 0.2, 4), (0, 7.4, 2))
    for x, width, tall in ((-2.2, 1.8, 2.2), (0.1, 1.4, 1.75), (2.2, 1.7, 2.2)):
        shelf(s, x, 7.0, width, tall)
    shelf(s, -2.0, 4.6, 1.0, 1.75, 60)
    wood, steel = s.paint((0.55, 0.42, 0.25), "planks", 0.07), s.paint((0.3, 0.32, 0.35))
    for side in (-0.22, 0.22):  # a ladder against the shelf
        s.pole(wood, (0.95 + side, 5.4, 0), (0.95 + side, 6.6, 2.5), 0.025)
    for k in range(8):
        part = 0.1 + 0.11 * k
        s.pole(wood, (0.73, 5.4 + 1.2 * part, 2.5 * part), (1.17, 5.4 + 1.2 * part, 2.5 * part), 0.016)
    table(s, -0.4, 4.2, (1.5, 0.7), -6)
    table(s, 1.8, 5.0, (1.1, 0.6), 25)
    for x, y in ((0.75, 3.2), (-1.2, 3.5)):  # stools
        s.pole(wood, (x, y, 0.6), (x, y, 0.64), 0.17, sides=18)
        for a in (0.5, 2.6, 4.7):
            s.pole(wood, (x + 0.2 * math.cos(a), y + 0.2 * math.sin(a), 0),
                   (x + 0.1 * math.cos(a), y + 0.1 * math.sin(a), 0.6), 0.016)  # fmt: skip
    for x, y, low in ((-0.55, 2.4, 1.25), (0.35, 3.6, 1.5)):  # lamps on cables
        s.pole(steel, (x, y, low), (x, y, 3.5), 0.008)
        s.pole(s.paint((0.2, 0.35, 0.3), "print", 0.05), (x, y, low - 0.14), (x, y, low), 0.15, 0.04, 20)
    for k in range(4):  # boxes in a pile
        s.box(s.paint((0.55, 0.4, 0.25), "print", 0.1), (0.5 - 0.06 * k, 0.4, 0.3), (1.55, 3.5, 0.15 + 0.3 * k), 17 * k)
    s.pole(steel, (-1.7, 2.9, 0), (-1.7, 2.9, 3.5), 0.035)


def camera_at(shot: dict, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) from the world to the camera (rows right, down, forward) and its centre (3,)."""
    part = frame / (shot["frames"] - 1)
    eased, seconds = part * part * (3 - 2 * part), frame / FPS

    def wobble(k: int) -> float:
        waves = ((0.4, 0.6), (1.1, 0.3), (2.3, 0.1))
        return sum(a * (math.sin(6.283 * f * seconds + 2.1 * k) - math.sin(2.1 * k)) for f, a in waves)

    center = [shot["eye"][k] + eased * shot["travel"][k] + shot["sway"] * wobble(k) for k in range(3)]
    yaw, pitch = (
        math.radians(shot["aim"][k] + eased * shot["turn"][k] + shot["shake"] * wobble(3 + k)) for k in (0, 1)
    )
    roll = math.radians(0.5 * shot["shake"] * wobble(5))
    forward = np.array([math.sin(yaw) * math.cos(pitch), math.cos(yaw) * math.cos(pitch), math.sin(pitch)])
    level = np.array([math.cos(yaw), -math.sin(yaw), 0.0])
    under = np.cross(forward, level)
    right, down = math.cos(roll) * level + math.sin(roll) * under, math.cos(roll) * under - math.sin(roll) * level
    return np.array([right, down, forward]), np.array(center)


def light_up() -> None:
    """A sun and an even sky."""
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.data.angle = 2.5, math.radians(4)
    sun.rotation_euler = Vector((0.35, 0.6, -0.75)).to_track_quat("-Z", "Y").to_euler()
    bpy.context.collection.objects.link(sun)
    world = bpy.context.scene.world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (0.8, 0.9, 1.0, 1)
    world.node_tree.nodes["Background"].inputs[1].default_value = 0.8


def shoot(shot: dict, name: str, out: Path, size: tuple[int, int], samples: int) -> None:
    """Render pictures, then depth, and write the cameras."""
    scene, lens = bpy.context.scene, bpy.data.cameras.new("camera")
    scene.camera = bpy.data.objects.new("camera", lens)
    bpy.context.collection.objects.link(scene.camera)
    focal = 0.5 / math.tan(math.radians(shot["hfov"]) / 2)  # widths
    lens.sensor_fit, lens.sensor_width, lens.lens, lens.clip_start = "HORIZONTAL", 36.0, 36.0 * focal, 0.01
    render, cycles = scene.render, scene.cycles
    render.engine, render.use_persistent_data = "CYCLES", True
    render.resolution_x, render.resolution_y, render.resolution_percentage = *size, 100
    cycles.device, cycles.use_denoising, cycles.max_bounces = "CPU", False, 1
    scene.view_settings.view_transform, scene.view_settings.exposure = "Standard", 0.7
    scene.view_layers[0].use_pass_z = True
    frames = []
    for picture in (True, False):
        stored = render.image_settings
        if hasattr(stored, "media_type"):  # Blender 5
            stored.media_type = "IMAGE" if picture else "MULTI_LAYER_IMAGE"
        stored.file_format = "PNG" if picture else "OPEN_EXR_MULTILAYER"
        stored.color_depth = "8" if picture else "32"
        cycles.samples, cycles.use_adaptive_sampling = (samples if picture else 1), False
        cycles.pixel_filter_type, cycles.filter_width = ("BLACKMAN_HARRIS", 1.5) if picture else ("BOX", 0.01)
        for frame in range(shot["frames"]):
            rotation, center = camera_at(shot, frame)
            right, down, forward = rotation
            scene.camera.matrix_world = Matrix(
                [[right[k], -down[k], -forward[k], center[k]] for k in range(3)] + [[0, 0, 0, 1]]
            )
            cycles.seed = frame
            stem = f"{name}.{frame + 1:04d}"
            render.filepath = str(out / ("frames" if picture else "depth") / stem) + (".png" if picture else ".exr")
            bpy.ops.render.render(write_still=True)
            if picture:
                frames.append({
                    "frame": frame, "name": f"{stem}.png", "fx": size[0] * focal, "fy": size[0] * focal,
                    "cx": size[0] / 2, "cy": size[1] / 2,
                    "cam_from_world": np.column_stack([rotation, -rotation @ center]).tolist(),
                })  # fmt: skip
    (out / "gt.json").write_text(json.dumps({"width": size[0], "height": size[1], "fps": FPS, "frames": frames}))


def main() -> None:
    """Render the sets that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("shots", nargs="*", default=list(SHOTS))
    parser.add_argument("--size", default="512x288")
    parser.add_argument("--samples", type=int, default=16)
    asked = parser.parse_args()
    width, height = (int(number) for number in asked.size.split("x"))
    for name in asked.shots:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        {"room": room, "garden": garden, "workshop": workshop}[name]()
        light_up()
        shoot(SHOTS[name], name, asked.out / name, (width, height), asked.samples)


if __name__ == "__main__":
    main()
