"""Render the sample shot and its relatives: colour frames, depth along the camera axis, exact cameras.

usage: blender -b --python data/render_sample.py -- --out DIR [--shot NAME] [--size 640x360] [--frames N]
       [--samples S] [--depth-size 160x90] [--pick 0,24] [--only color|depth]

Writes DIR/frames/*.png, DIR/depth/*.exr (32-bit, pass Depth.Z, one ray through the centre of each pixel of
the depth map), DIR/static/*.exr (the same without the moving figure, if there is one) and DIR/gt.json. The
cameras come from `camera` in float64; what Blender holds is checked against them to 1e-6.
"""

import argparse
import json
import math
import os
import pathlib
import sys

import bpy
from mathutils import Matrix

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from film_set import stripes
from film_street import build

FPS = 24
SHOTS = dict(
    sample=dict(
        seed=11,
        half=4.6,
        length=19,
        gate=1.9,
        hfov=54.4,
        flags=(7, 12.5),
        scatter=9,
        clear=8,
        frames=48,
        eye=(0.5, 0, 1.5),
        aim=(-5, -1.2),
        travel=(0.34, 0.24, 0.04),
        turn=(2.0, 0.4, 0),
        sway=0.006,
        shake=0.12,
        props=[
            ("crates", -0.95, 2.7, 20),
            ("plant", 1.95, 2.9, 1.25),
            ("barrel", -1.9, 5.2),
            ("lamp", 2.3, 7.2),
            ("stall", -2.6, 7.6, 35),
            ("cafe", 1.3, 5.4, 30),
            ("board", 0.2, 8.2, -15),
            ("crates", 2.9, 5.6, -20, 3),
        ],
    ),
    handheld=dict(
        seed=23,
        half=3.7,
        length=15,
        gate=1.4,
        hfov=50,
        flags=(5, 9),
        scatter=9,
        clear=6,
        frames=72,
        eye=(-0.4, 0, 1.6),
        aim=(9, -2),
        travel=(0, 0, 0),
        turn=(0, 0, 0),
        sway=0.05,
        shake=0.9,
        sun=(-0.3, 0.6, -0.8),
        props=[
            ("barrel", 0.9, 2.6),
            ("crates", -1.3, 3.3, -25, 2),
            ("stall", 1.6, 5.4, -40),
            ("plant", -1.6, 4.6, 1.3),
        ],
    ),
    longlens=dict(
        seed=37,
        half=5.5,
        length=44,
        gate=2.2,
        hfov=18,
        flags=(14, 22, 33),
        scatter=16,
        clear=17,
        frames=72,
        eye=(-0.2, 0, 1.45),
        aim=(0, 0.2),
        travel=(0.4, 0, 0),
        turn=(-0.6, 0, 0),
        sway=0.003,
        shake=0.05,
        props=[
            ("crates", -0.75, 6.1, 15, 3),
            ("plant", 1.0, 6.6, 1.5),
            ("lamp", -1.2, 10),
            ("cafe", 0.9, 10.5),
            ("barrel", -0.3, 12.5),
            ("stall", 2.1, 15, -15),
        ],
    ),
    actor=dict(
        seed=41,
        half=4.2,
        length=13,
        gate=1.6,
        hfov=54.4,
        flags=(6,),
        scatter=9,
        clear=5,
        frames=72,
        eye=(0.2, 0, 1.5),
        aim=(-3, -2),
        travel=(0.12, 0.1, 0),
        turn=(1.5, 0, 0),
        sway=0.02,
        shake=0.4,
        props=[("crates", 1.5, 3.4, 20), ("cafe", -1.4, 4.4), ("lamp", 0.6, 6.2)],
        figure=1.6,
    ),
    nodal=dict(
        seed=53,
        half=5.0,
        length=17,
        gate=2.0,
        hfov=45,
        flags=(8, 13),
        scatter=10,
        clear=6,
        frames=72,
        eye=(-0.5, 0, 1.6),
        aim=(-2, -1),
        travel=(0, 0, 0),
        turn=(12, 0.6, 0),
        sway=0,
        shake=0.08,
        props=[("plant", -1.1, 3.2, 1.3), ("crates", 1.2, 3.5, 10, 3), ("stall", -2.4, 6, 20)],
    ),
)


def wobble(t, k):
    """Smooth hand motion in about [-1, 1], channel k, at t seconds; zero at the start of the shot."""
    waves = ((0.31, 0.55), (0.83, 0.28), (1.9, 0.12), (3.7, 0.05))
    return sum(
        a * (math.sin(2 * math.pi * f * t + 2.4 * k + i) - math.sin(2.4 * k + i)) for i, (f, a) in enumerate(waves)
    )


def camera(cfg, i, n):
    """World-to-camera rotation rows (right, down, forward) and centre of frame i of n, in float64."""
    t, s = i / FPS, i / max(n - 1, 1)
    ease = s * s * (3 - 2 * s)
    c = [cfg["eye"][k] + ease * cfg["travel"][k] + cfg["sway"] * wobble(t, k) for k in range(3)]
    base = (*cfg["aim"], 0.0)
    yaw, pitch, roll = (
        math.radians(a + ease * b + cfg["shake"] * f * wobble(t, 3 + k))
        for k, (a, b, f) in enumerate(zip(base, cfg["turn"], (1, 0.8, 0.5), strict=True))
    )
    fwd = (math.sin(yaw) * math.cos(pitch), math.cos(yaw) * math.cos(pitch), math.sin(pitch))
    right = (math.cos(yaw), -math.sin(yaw), 0.0)
    up = (
        right[1] * fwd[2] - right[2] * fwd[1],
        right[2] * fwd[0] - right[0] * fwd[2],
        right[0] * fwd[1] - right[1] * fwd[0],
    )
    cr, sr = math.cos(roll), math.sin(roll)
    down = [sr * right[k] - cr * up[k] for k in range(3)]
    return [[cr * right[k] + sr * up[k] for k in range(3)], down, list(fwd)], c


def make_figure(s, reach):
    """A walking figure of capsules; returns a function that poses it at time t in [0, 1]."""

    def capsule(mat, r, length):
        bow = [(r * math.sin(a * math.pi / 12), r * math.cos(a * math.pi / 12)) for a in range(7)]
        return s.lathe(mat, bow + [(p, -length - q) for p, q in bow[::-1]], (0, 0, 0), 20)

    coat, skin, jeans = stripes("coat", (0.45, 0.10, 0.06), (0.10, 0.09, 0.16), 0.07), s.clay, s.paint[2]
    torso, head, hat = capsule(coat, 0.25, 0.52), capsule(skin, 0.12, 0.06), capsule(s.plank[0], 0.135, 0.0)
    arms = [(capsule(coat, 0.085, 0.28), capsule(s.cloth[2], 0.07, 0.26)) for _ in range(2)]
    legs = [(capsule(jeans, 0.11, 0.38), capsule(jeans, 0.09, 0.38)) for _ in range(2)]

    def pose(t, seconds):
        x, y, z = -reach + 2 * reach * t, 1.45 + 0.1 * math.sin(5 * t), 0.03 * math.sin(9 * seconds)
        root = Matrix.Translation((x, y, z))
        torso.matrix_world = root @ Matrix.Translation((0, 0, 1.45)) @ Matrix.Scale(1.1, 4, (0, 1, 0))
        head.matrix_world = root @ Matrix.Translation((0.03, 0, 1.86))
        hat.matrix_world = root @ Matrix.Translation((0.02, 0, 1.95)) @ Matrix.Scale(0.6, 4, (0, 0, 1))
        for k, ((a, b), (u, v)) in enumerate(zip(arms, legs, strict=True)):
            side, ph = (-1) ** k, math.sin(6 * seconds + math.pi * k)
            limbs = (a, b, 0.30, 1.48, 0.3, 0.9 * ph, -0.9), (u, v, 0.14, 0.9, 0.4, -0.5 * ph, 0.4)
            for one, two, y, z, drop, swing, bend in limbs:
                m = root @ Matrix.Translation((0, side * y, z)) @ Matrix.Rotation(swing, 4, "Y")
                one.matrix_world = m
                two.matrix_world = m @ Matrix.Translation((0, 0, -drop)) @ Matrix.Rotation(bend, 4, "Y")

    pose.parts = [torso, head, hat] + [p for pair in arms + legs for p in pair]
    return pose


def main():
    """Parse the command line, build the set, render and write the ground truth."""
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument("--out", type=pathlib.Path, required=True)
    ap.add_argument("--shot", default="sample", choices=list(SHOTS))
    ap.add_argument("--size", default="640x360")
    ap.add_argument("--depth-size", default="160x90")
    ap.add_argument("--frames", type=int)
    ap.add_argument("--samples", type=int, default=64)
    ap.add_argument("--pick")
    ap.add_argument("--only", choices=("color", "depth"))
    arg = ap.parse_args(sys.argv[sys.argv.index("--") + 1 :])
    cfg = dict(ambient=0.0 if arg.shot == "sample" else 0.3) | SHOTS[arg.shot]  # glow: clean at few samples
    n = arg.frames or cfg["frames"]
    (w, h), dsize = (tuple(int(v) for v in text.split("x")) for text in (arg.size, arg.depth_size))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    pose = None
    stage = build(cfg)
    if "figure" in cfg:
        pose = make_figure(stage, cfg["figure"])
    cam = bpy.data.objects.new("cam", bpy.data.cameras.new("cam"))
    bpy.context.collection.objects.link(cam)
    scene.camera = cam
    cam.data.sensor_fit, cam.data.sensor_width, cam.data.clip_end = "HORIZONTAL", 36.0, 500.0
    focal = 0.5 / math.tan(math.radians(cfg["hfov"]) / 2)
    cam.data.lens = 36.0 * focal
    assert abs(cam.data.lens / 36.0 / focal - 1) < 1e-6
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.use_denoising = "CPU", False
    scene.cycles.glossy_bounces = 0
    scene.cycles.max_bounces = scene.cycles.diffuse_bounces = 0 if cfg["ambient"] else 2
    scene.cycles.sample_clamp_indirect, scene.cycles.caustics_reflective = 2.0, False
    scene.view_settings.view_transform, scene.view_settings.look = "Filmic", "Medium High Contrast"
    scene.view_settings.exposure = cfg.get("exposure", 0.7)
    scene.view_layers[0].use_pass_z = True
    scene.render.use_motion_blur = False
    scene.render.use_persistent_data = pose is None
    frames = [int(v) for v in arg.pick.split(",")] if arg.pick else range(n)

    def shoot(folder, size, ext):
        scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = *size, 100
        color = ext == "png"
        scene.cycles.samples, scene.cycles.use_adaptive_sampling = (arg.samples if color else 1), color
        scene.cycles.adaptive_threshold = 0.02
        scene.cycles.pixel_filter_type = "BLACKMAN_HARRIS" if color else "BOX"
        scene.cycles.filter_width = 1.5 if color else 0.01
        scene.render.image_settings.file_format = "PNG" if color else "OPEN_EXR_MULTILAYER"
        scene.render.image_settings.color_mode = "RGB"
        scene.render.image_settings.color_depth = "8" if color else "32"
        for i in frames:
            rows, c = camera(cfg, i, n)
            want = Matrix([[rows[0][k], -rows[1][k], -rows[2][k], c[k]] for k in range(3)] + [[0, 0, 0, 1]])
            cam.matrix_world = want
            if pose:
                pose(i / (n - 1), i / FPS)
            bpy.context.view_layer.update()
            have = cam.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world
            assert max(abs(have[a][b] - want[a][b]) for a in range(3) for b in range(4)) < 1e-6
            scene.cycles.seed = 1000 + i
            scene.render.filepath = str(arg.out / folder / f"{arg.shot}.{i + 1:04d}.{ext}")
            bpy.ops.render.render(write_still=True)

    if arg.only != "depth":
        shoot("frames", (w, h), "png")
    if arg.only != "color":
        shoot("depth", dsize, "exr")
        if pose:
            for part in pose.parts:
                part.hide_render = True
            shoot("static", dsize, "exr")
    rows = []
    for i in range(n):
        r, c = camera(cfg, i, n)
        world = [[*row, -sum(a * b for a, b in zip(row, c, strict=True))] for row in r]
        rows.append(
            dict(
                frame=i,
                cam_from_world=world,
                fx=w * focal,
                fy=w * focal,
                cx=w / 2,
                cy=h / 2,
                name=f"{arg.shot}.{i + 1:04d}.png",
            )
        )
    text = "OpenCV: x right, y down, z forward; pixel (0,0) corner of the top-left pixel"
    gt = dict(width=w, height=h, fps=FPS, convention=text, frames=rows)
    (arg.out / "gt.json").write_text(json.dumps(gt))


if __name__ == "__main__":
    try:
        main()
    except BaseException as err:
        print("failed:", repr(err), flush=True)
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)
