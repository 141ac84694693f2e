"""A procedural back-lot street for Blender 3.4+: materials, mesh primitives, houses and props.

Everything is generated from a seed; no external asset is read. World axes: x right, y into the set, z up.
Units are metres.
"""

import math
import random
from itertools import pairwise

import bpy
from mathutils import Matrix, Vector

BRICKS = [
    ((0.42, 0.13, 0.07), (0.25, 0.07, 0.04)),
    ((0.50, 0.36, 0.20), (0.36, 0.23, 0.12)),
    ((0.33, 0.20, 0.15), (0.20, 0.12, 0.10)),
]
PLASTERS = [(0.62, 0.45, 0.24), (0.55, 0.57, 0.55), (0.60, 0.33, 0.24), (0.34, 0.43, 0.45), (0.64, 0.58, 0.44)]
PAINTS = [(0.05, 0.16, 0.13), (0.16, 0.05, 0.04), (0.06, 0.10, 0.22), (0.40, 0.36, 0.28), (0.22, 0.13, 0.06)]


def rgba(c):
    """An RGB triple as RGBA."""
    return (*c[:3], 1.0)


def move(x, y, z, rz=0.0, rx=0.0, ry=0.0):
    """Translation times rotations about z, x, y (degrees)."""
    turn = [Matrix.Rotation(math.radians(a), 4, k) for a, k in ((rz, "Z"), (rx, "X"), (ry, "Y"))]
    return Matrix.Translation((x, y, z)) @ turn[0] @ turn[1] @ turn[2]


class Shader:
    """A material under construction; `uv` is in metres, `ambient` adds fill light as a noiseless glow."""

    ambient = 0.0

    def __init__(self, name):
        self.mat = bpy.data.materials.new(name)
        self.mat.use_nodes = True
        self.tree = self.mat.node_tree
        self.bsdf = self.tree.nodes["Principled BSDF"]
        self.bsdf.inputs["Specular"].default_value = 0.2
        shift = self.node("VectorMath", dict(operation="SCALE"), {0: (23.7, 9.3, 5.1)})
        self.link(self.node("ObjectInfo").outputs["Random"], shift.inputs["Scale"])
        add = self.node("VectorMath", None, {0: self.node("TexCoord").outputs["UV"], 1: shift.outputs[0]})
        self.uv = add.outputs[0]

    def link(self, out, socket):
        """Connect an output to an input."""
        self.tree.links.new(out, socket)

    def node(self, kind, props=None, inputs=None):
        """A new node with its properties, and inputs given as values or as sockets."""
        n = self.tree.nodes.new("ShaderNode" + kind)
        for k, v in (props or {}).items():
            setattr(n, k, v)
        for k, v in (inputs or {}).items():
            if isinstance(v, bpy.types.NodeSocket):
                self.link(v, n.inputs[k])
            else:
                n.inputs[k].default_value = v
        return n

    def noise(self, scale, lo, hi, stretch=(1, 1, 1), a=0.3, b=0.7, octaves=5.0):
        """Fractal noise mapped from [a, b] to greys lo..hi."""
        vec = self.node("VectorMath", dict(operation="MULTIPLY"), {0: self.uv, 1: stretch}).outputs[0]
        keys = dict(Vector=vec, Scale=scale, Detail=octaves, Roughness=0.68)
        fac = self.node("TexNoise", None, keys).outputs["Fac"]
        keys = {"Value": fac, "From Min": a, "From Max": b, "To Min": lo, "To Max": hi}
        return self.node("MapRange", None, keys).outputs["Result"]

    def mix(self, how, fac, c1, c2):
        """Two colours blended the named way."""
        return self.node("MixRGB", dict(blend_type=how), dict(Fac=fac, Color1=c1, Color2=c2)).outputs[0]

    def finish(self, color, height=None, rough=0.85, depth=0.012, flat=(0.25, 0.23, 0.2)):
        """Wire the surface; bounced light sees only the `flat` colour, which keeps it cheap."""
        self.link(color, self.bsdf.inputs["Base Color"])
        if self.ambient:
            self.link(color, self.bsdf.inputs["Emission"])
            self.bsdf.inputs["Emission Strength"].default_value = self.ambient
            self.mat.cycles.sample_as_light = False
        seen = self.node("LightPath").outputs["Is Camera Ray"]
        plain = self.node("BsdfDiffuse", None, dict(Color=rgba(flat)))
        both = self.node("MixShader", None, {0: seen, 1: plain.outputs[0], 2: self.bsdf.outputs[0]})
        self.link(both.outputs[0], self.tree.nodes["Material Output"].inputs[0])
        self.bsdf.inputs["Roughness"].default_value = rough
        if height is not None:
            bump = self.node("Bump", None, dict(Strength=0.7, Distance=depth, Height=height))
            self.link(bump.outputs[0], self.bsdf.inputs["Normal"])
        return self.mat


def tiles(name, c1, c2, gap, w, h, joint=0.012, stretch=(1, 1, 1), rough=0.85, coat=None):
    """Brick, paving or planks; with `coat` a peeling, cracked plaster of that colour over the bricks."""
    s = Shader(name)
    keys = {
        "Vector": s.uv,
        "Color1": rgba(c1),
        "Color2": rgba(c2),
        "Mortar": rgba(gap),
        "Scale": 1.0,
        "Mortar Size": joint,
        "Brick Width": w,
        "Row Height": h,
        "Mortar Smooth": 0.2,
    }
    brick = s.node("TexBrick", None, keys)
    color = brick.outputs["Color"]
    fine, coarse = s.noise(9, 0.45, 1.35, stretch), s.noise(0.7, 0.6, 1.25, octaves=3.0)
    height = s.mix("SUBTRACT", 1.0, fine, brick.outputs["Fac"])
    if coat:
        bare = s.noise(0.9, 0, 1, a=0.585, b=0.6, octaves=4.0)
        cell = s.node("TexVoronoi", dict(feature="DISTANCE_TO_EDGE"), dict(Vector=s.uv, Scale=1.3)).outputs[0]
        keys = {"Value": cell, "From Min": 0.0, "From Max": 0.012, "To Min": 0.45, "To Max": 1}
        crack = s.node("MapRange", None, keys).outputs[0]
        dots = s.noise(26, 0.35, 1, a=0.36, b=0.46, octaves=2.0)
        skin = s.mix("MULTIPLY", 1.0, s.mix("MULTIPLY", 1.0, rgba(coat), crack), dots)
        color = s.mix("MIX", bare, skin, color)
        height = s.mix("MIX", bare, s.mix("ADD", 1.0, dots, (0.6, 0.6, 0.6, 1)), height)
    color = s.mix("MULTIPLY", 1.0, s.mix("MULTIPLY", 1.0, color, fine), coarse)
    return s.finish(color, height, rough, flat=[0.9 * v for v in coat or c2])


def grain(name, c, scale=14, stretch=(1, 1, 1), rough=0.6, lo=0.5, hi=1.3):
    """One colour with worn, speckled grain."""
    s = Shader(name)
    fine = s.noise(scale, lo, hi, stretch)
    color = s.mix("MULTIPLY", 1.0, s.mix("MULTIPLY", 1.0, rgba(c), fine), s.noise(2.2, 0.7, 1.2, octaves=2.0))
    return s.finish(color, fine, rough, flat=c)


def stripes(name, c1, c2, pitch):
    """Cloth with hard stripes along v and some dirt."""
    s = Shader(name)
    x = s.node("SeparateXYZ", None, {0: s.uv}).outputs[0]
    saw = s.node("Math", dict(operation="PINGPONG"), {0: x, 1: pitch}).outputs[0]
    side = s.node("Math", dict(operation="GREATER_THAN"), {0: saw, 1: pitch / 2}).outputs[0]
    color = s.mix("MIX", side, rgba(c1), rgba(c2))
    return s.finish(s.mix("MULTIPLY", 1.0, color, s.noise(11, 0.5, 1.25)))


def leaves(name, c):
    """Foliage whose every leaf has its own shade."""
    s = Shader(name)
    isle = s.node("NewGeometry").outputs["Random Per Island"]
    color = s.mix("MIX", isle, rgba([v * 0.35 for v in c]), rgba([min(1, v * 1.6) for v in c]))
    return s.finish(s.mix("MULTIPLY", 1.0, color, s.noise(30, 0.6, 1.3)), rough=0.5, flat=c)


def poster(name, rng, w=72, h=104):
    """A printed bill: coloured blocks, discs and lines of invented lettering."""
    pal = [[rng.uniform(0.05, 0.9) for _ in range(3)] for _ in range(4)] + [[0.88, 0.84, 0.72], [0.06, 0.05, 0.06]]
    pix = [[pal[4]] * w for _ in range(h)]
    for _ in range(7):
        x, y, r, c = rng.randrange(w), rng.randrange(h // 3, h), rng.randrange(5, 20), rng.choice(pal)
        disc = rng.random() < 0.5
        for j in range(max(3, y - r), min(h - 3, y + r)):
            for i in range(max(3, x - r), min(w - 3, x + r)):
                if not disc or (i - x) ** 2 + (j - y) ** 2 < r * r:
                    pix[j][i] = c
    for row in range(6, h // 2, 8):
        c, x = rng.choice(pal[:4] + [pal[5]] * 3), 6
        while x < w - 12:
            size = rng.randrange(2, 6)
            for j in range(row, row + 5):
                for i in range(x, x + size):
                    if (i - x) in (0, size - 1) or (j in (row, row + 4) and rng.random() < 0.7):
                        pix[j][i] = c
            x += size + rng.choice((1, 1, 3))
    img = bpy.data.images.new(name, w, h)
    img.pixels = [v for line in pix for p in line for v in (*p, 1.0)]
    img.pack()
    s = Shader(name)
    tex = s.node("TexImage", dict(image=img, extension="CLIP"), {0: s.node("TexCoord").outputs["Generated"]})
    s.tree.links.remove(tex.inputs[0].links[0])
    x, _, z = s.node("SeparateXYZ", None, {0: s.node("TexCoord").outputs["Generated"]}).outputs
    s.link(s.node("CombineXYZ", None, {0: x, 1: z}).outputs[0], tex.inputs[0])
    return s.finish(s.mix("MULTIPLY", 1.0, tex.outputs[0], s.noise(9, 0.5, 1.15)), rough=0.7)


class Set:
    """Holds the random generator, the material bank and the frame in which primitives are placed."""

    def __init__(self, seed):
        rng = self.rng = random.Random(seed)
        self.at = Matrix.Identity(4)
        self.brick = [tiles("brick", *c, (0.38, 0.35, 0.31), 0.24, 0.078) for c in BRICKS]
        self.wall = self.brick + [
            tiles("plaster", *rng.choice(BRICKS), (0.3, 0.28, 0.25), 0.24, 0.078, coat=c) for c in PLASTERS
        ]
        rng.shuffle(self.wall)
        self.paving = tiles("paving", (0.34, 0.31, 0.27), (0.20, 0.19, 0.18), (0.07, 0.065, 0.06), 0.52, 0.34, 0.014)
        self.kerb = tiles("kerb", (0.42, 0.40, 0.37), (0.30, 0.29, 0.27), (0.09, 0.085, 0.08), 0.30, 0.30, 0.012)
        self.stone = tiles("stone", (0.46, 0.43, 0.38), (0.33, 0.31, 0.28), (0.14, 0.13, 0.12), 0.62, 0.33, 0.014)
        self.plank = [
            tiles("plank", c, [v * 0.6 for v in c], (0.02, 0.015, 0.01), 3.1, 0.11, 0.008, (1, 9, 1), 0.6)
            for c in ((0.30, 0.17, 0.08), (0.42, 0.29, 0.16), (0.20, 0.13, 0.09))
        ]
        self.paint = [grain("paint", c, 12, (1, 4, 1)) for c in PAINTS]
        self.louver = [tiles("louver", c, [v * 0.8 for v in c], (0.01, 0.01, 0.01), 5, 0.055, 0.01) for c in PAINTS]
        self.iron = grain("iron", (0.06, 0.06, 0.065), 25, rough=0.45)
        self.amber = grain("amber", (0.75, 0.48, 0.18), 9, rough=0.3)
        self.clay = grain("clay", (0.45, 0.19, 0.10), 18)
        self.glass = tiles(
            "pane", (0.05, 0.06, 0.07), (0.14, 0.13, 0.11), (0.03, 0.03, 0.03), 0.33, 0.9, 0.01, (6, 0.6, 1), 0.3
        )
        self.cloth = [
            stripes("cloth", a, b, 0.36)
            for a, b in (
                ((0.55, 0.07, 0.05), (0.72, 0.68, 0.58)),
                ((0.06, 0.22, 0.16), (0.74, 0.70, 0.60)),
                ((0.08, 0.13, 0.30), (0.70, 0.62, 0.42)),
            )
        ]
        self.leaf = [leaves("leaf", c) for c in ((0.09, 0.17, 0.035), (0.13, 0.20, 0.06), (0.07, 0.13, 0.05))]
        self.bills = [poster(f"bill{i}", rng) for i in range(7)]
        self.colors = [grain("color", [rng.uniform(0.04, 0.6) for _ in range(3)], 30) for _ in range(9)]

    def mesh(self, mat, verts, faces, uvs, at=None, smooth=False):
        """An object from vertices, faces and one uv per face corner, placed in the current frame."""
        me = bpy.data.meshes.new("part")
        me.from_pydata(verts, [], faces)
        me.uv_layers.new().data.foreach_set("uv", [v for uv in uvs for v in uv])
        me.materials.append(mat)
        me.polygons.foreach_set("use_smooth", [smooth] * len(faces))
        ob = bpy.data.objects.new("part", me)
        ob.matrix_world = self.at @ (at or Matrix.Identity(4))
        bpy.context.collection.objects.link(ob)
        return ob

    def box(self, mat, size, at):
        """A box of the given size centred on `at` (a position or a matrix)."""
        at = at if isinstance(at, Matrix) else Matrix.Translation(at)
        ring = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        verts = [Vector((x * size[0], y * size[1], z * size[2])) / 2 for z in (-1, 1) for x, y in ring]
        faces = [(0, 3, 2, 1), (4, 5, 6, 7), (0, 1, 5, 4), (2, 3, 7, 6), (1, 2, 6, 5), (3, 0, 4, 7)]
        axes = [(0, 1), (0, 1), (0, 2), (0, 2), (1, 2), (1, 2)]
        if size[2] > 3 * max(size[0], size[1]):
            axes = [(1, 0), (1, 0), (2, 0), (2, 0), (2, 1), (2, 1)]
        uvs = [(verts[i][a], verts[i][b]) for f, (a, b) in zip(faces, axes, strict=True) for i in f]
        return self.mesh(mat, verts, faces, uvs, at)

    def lathe(self, mat, profile, at, n=24):
        """A surface of revolution about z from (radius, height) pairs."""
        at = at if isinstance(at, Matrix) else Matrix.Translation(at)
        turn = [2 * math.pi * i / n for i in range(n)]
        verts = [(r * math.cos(a), r * math.sin(a), z) for r, z in profile for a in turn]
        rmax, faces, uvs = max(r for r, _ in profile), [], []
        run = [0.0]
        for (r0, z0), (r1, z1) in pairwise(profile):
            run.append(run[-1] + math.hypot(r1 - r0, z1 - z0))
        for j in range(len(profile) - 1):
            for i in range(n):
                faces.append((j * n + i, j * n + (i + 1) % n, (j + 1) * n + (i + 1) % n, (j + 1) * n + i))
                u0, u1 = (2 * math.pi * rmax * k / n for k in (i, i + 1))
                uvs += [(u0, run[j]), (u1, run[j]), (u1, run[j + 1]), (u0, run[j + 1])]
        return self.mesh(mat, verts, faces, uvs, at, smooth=True)

    def bush(self, at, radius, height, count=220, leaf=0.09):
        """Leaves scattered through an ellipsoid."""
        rng, verts, faces, uvs = self.rng, [], [], []
        for k in range(count):
            d = Vector([rng.gauss(0, 1) for _ in range(3)]).normalized() * rng.uniform(0.45, 1)
            turn = move(d.x * radius, d.y * radius, d.z * height, *(rng.uniform(-180, 180) for _ in range(3)))
            s = leaf * rng.uniform(0.6, 1.3)
            outline = ((0, -s, 0), (s * 0.42, 0, s * 0.12), (0, s, 0), (-s * 0.42, 0, s * 0.12))
            verts += [turn @ Vector(v) for v in outline]
            faces.append((4 * k, 4 * k + 1, 4 * k + 2, 4 * k + 3))
            uvs += [(0, 0), (0.1, 0), (0.1, 0.1), (0, 0.1)]
        self.mesh(rng.choice(self.leaf), verts, faces, uvs, Matrix.Translation(at))

    def sign(self, text, mat, size, at):
        """Raised lettering in Blender's built-in font, facing local +y."""
        cu = bpy.data.curves.new("sign", "FONT")
        cu.body, cu.size, cu.extrude, cu.align_x = text, size, 0.015, "CENTER"
        cu.materials.append(mat)
        ob = bpy.data.objects.new("sign", cu)
        ob.matrix_world = (
            self.at @ Matrix.Translation(at) @ Matrix.Rotation(math.pi, 4, "Z") @ Matrix.Rotation(math.pi / 2, 4, "X")
        )
        bpy.context.collection.objects.link(ob)
