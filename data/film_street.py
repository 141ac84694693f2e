"""Houses, props and the layout of the back-lot street, built from the parts of film_set.py."""

import math

import bpy
from film_set import Set, Shader, move, rgba
from mathutils import Matrix, Vector

WORDS = ["CAFE LUNA", "LIBRI", "HOTEL", "PANE E VINO", "CINEMA", "ARTE", "SARTO", "MERCATO"]


def window(s, x, z, w, h, paint, shut):
    """A framed window with muntins, sill, lintel and perhaps shutters."""
    s.box(s.glass, (w, 0.02, h), (x, 0.02, z))
    for k in (-1, 1):
        s.box(paint, (0.07, 0.09, h + 0.14), (x + k * (w / 2 + 0.035), 0.045, z))
        s.box(paint, (w, 0.085, 0.07), (x, 0.0425, z + k * (h / 2 + 0.035)))
        if shut:
            s.box(
                s.rng.choice(shut),
                (w / 2, 0.04, h + 0.1),
                move(x + k * (w * 0.75 + 0.09), 0.065, z, k * s.rng.uniform(2, 9)),
            )
    s.box(paint, (0.035, 0.06, h), (x, 0.03, z))
    for k in (-1 / 6, 1 / 6):
        s.box(paint, (w, 0.05, 0.03), (x, 0.025, z + k * h))
    s.box(s.stone, (w + 0.36, 0.22, 0.08), (x, 0.11, z - h / 2 - 0.11))
    s.box(s.stone, (w + 0.3, 0.12, 0.18), (x, 0.06, z + h / 2 + 0.16))


def house(s, at, w, h, name):
    """A facade facing local +y: wall, plinth, cornice, door or shop front, windows and odds and ends."""
    s.at, rng = at, s.rng
    paint, shut = rng.choice(s.paint), [rng.choice(s.louver)]
    s.wall.insert(0, s.wall.pop())
    s.box(s.wall[0], (w, 5, h), (0, -2.5, h / 2))
    s.box(s.stone, (w - 0.01, 0.08, 0.55), (0, 0.04, 0.275))
    for z, out in ((3.05, 0.12), (h - 0.1, 0.30)):
        s.box(s.stone, (w - 0.02, out, 0.16), (0, out / 2, z))
        for i in range(int(w / 0.36)):
            s.box(s.stone, (0.12, out - 0.02, 0.12), (-w / 2 + 0.2 + 0.36 * i, out / 2 - 0.01, z - 0.14))
    cols = max(2, round(w / 1.9))
    door = rng.randrange(cols)
    for i in range(cols):
        x = w * ((i + 0.5) / cols - 0.5)
        for z in [4.35 + 2.6 * k for k in range(int((h - 3.2) / 2.6))]:
            window(s, x, z, 0.82, 1.35, paint, shut if rng.random() < 0.75 else None)
            if rng.random() < 0.4:
                s.box(s.clay, (0.8, 0.18, 0.16), (x, 0.31, z - 0.70))
                s.bush((x, 0.33, z - 0.55), 0.40, 0.15, 90, 0.06)
        if i == door:
            s.box(rng.choice(s.plank), (1.0, 0.06, 2.2), move(x, 0.03, 1.1))
            for k in (-1, 1):
                s.box(s.stone, (0.16, 0.14, 2.36), (x + k * 0.58, 0.07, 1.18))
            s.box(s.stone, (1.5, 0.2, 0.2), (x, 0.1, 2.46))
            s.box(s.stone, (1.5, 0.5, 0.13), (x, 0.25, 0.065))
            s.sign(name, s.colors[0], 0.3, (x, 0.06, 2.64))
        elif rng.random() < 0.5:
            window(s, x, 1.62, 1.2, 1.45, paint, None)
            if rng.random() < 0.6:
                s.box(rng.choice(s.cloth), (1.75, 0.9, 0.02), move(x, 0.42, 2.62, 0, -24))
        else:
            window(s, x, 1.65, 0.82, 1.3, paint, shut)
        if rng.random() < 0.7:
            s.box(rng.choice(s.bills), (0.44, 0.012, 0.62), move(x + w / cols / 2 - 0.28, 0.012, rng.uniform(1.2, 1.8)))
    s.lathe(s.iron, [(0.045, 0), (0.045, h)], (w / 2 - 0.12, 0.09, 0), 10)
    s.box(s.iron, (0.05, 0.5, 0.05), (-w / 2 + 0.3, 0.25, 2.75))
    lantern(s, -w / 2 + 0.3, 0.48, 2.35)
    s.at = Matrix.Identity(4)


def lantern(s, x, y, z):
    """A small iron lantern."""
    s.box(s.amber, (0.16, 0.16, 0.24), (x, y, z + 0.14))
    for k in range(4):
        s.box(s.iron, (0.025, 0.025, 0.26), (x + 0.085 * (-1) ** k, y + 0.085 * (-1) ** (k // 2), z + 0.14))
    s.lathe(s.iron, [(0.16, 0), (0.13, 0.04), (0.03, 0.14), (0.0, 0.2)], (x, y, z + 0.27), 8)
    s.box(s.iron, (0.22, 0.22, 0.03), (x, y, z))


def crates(s, x, y, rz=0.0, n=2, top=True):
    """A stack of slatted crates with books and bottles on top."""
    rng, z = s.rng, 0.0
    for _ in range(n):
        w, d, h = rng.uniform(0.6, 0.72), rng.uniform(0.46, 0.54), rng.uniform(0.4, 0.48)
        s.at = move(x, y, z, rz + rng.uniform(-9, 9))
        s.box(rng.choice(s.plank), (w - 0.04, d - 0.04, h - 0.02), (0, 0, h / 2))
        for k in (-1, 1):
            for m in (-1, 1):
                s.box(s.plank[1], (0.06, 0.06, h), (k * (w / 2 - 0.03), m * (d / 2 - 0.03), h / 2))
                s.box(s.plank[1], (w - 0.12, 0.035, 0.06), (0, k * (d / 2 - 0.0175), h / 2 + m * (h / 2 - 0.04)))
                s.box(s.plank[1], (0.035, d - 0.12, 0.06), (k * (w / 2 - 0.0175), 0, h / 2 + m * (h / 2 - 0.04)))
        z += h
    if top:
        table_top(s, x, y, z, 0.2)
    s.at = Matrix.Identity(4)


def table_top(s, x, y, z, r):
    """Books, a bottle or two and a small pot on a surface at height z."""
    rng, up = s.rng, 0.0
    s.at = move(x, y, z, rng.uniform(0, 90))
    for _ in range(rng.randrange(3, 6)):
        t = rng.uniform(0.025, 0.05)
        s.box(rng.choice(s.colors + s.bills), (0.20, 0.15, t), move(-r / 2, 0, up + t / 2, rng.uniform(-25, 25)))
        up += t
    for k in range(2):
        prof = [
            (0, 0),
            (0.035, 0),
            (0.036, 0.15),
            (0.014, 0.2),
            (0.013, 0.26),
            (0.016, 0.262),
            (0.016, 0.28),
            (0, 0.28),
        ]
        s.lathe(s.colors[k + 2], prof, (r * 0.7, (k - 0.5) * 0.13, 0), 16)
    plant(s, r * 0.1, r * 0.75, 0.55, base=True)


def barrel(s, x, y, rz=0.0):
    """A hooped barrel with something on it."""
    prof = [
        (0, 0),
        (0.25, 0),
        (0.31, 0.25),
        (0.33, 0.45),
        (0.31, 0.65),
        (0.25, 0.9),
        (0.22, 0.9),
        (0.22, 0.86),
        (0, 0.86),
    ]
    s.lathe(s.plank[0], prof, move(x, y, 0, rz))
    for z, r in ((0.06, 0.268), (0.25, 0.316), (0.65, 0.316), (0.84, 0.268)):
        s.lathe(s.iron, [(r - 0.02, z), (r, z), (r, z + 0.05), (r - 0.02, z + 0.05)], move(x, y, 0))
    table_top(s, x, y, 0.86, 0.1)
    s.at = Matrix.Identity(4)


def plant(s, x, y, size=1.0, base=False):
    """A pot with a bush."""
    z = 0.0
    prof = [(0, 0), (0.17, 0), (0.23, 0.34), (0.26, 0.34), (0.26, 0.42), (0.22, 0.42), (0.2, 0.36), (0, 0.36)]
    s.lathe(s.clay, [(r * size * 0.8, h * size * 0.6) for r, h in prof], (x, y, z))
    s.bush((x, y, z + 0.62 * size), 0.34 * size, 0.42 * size, 260, 0.1 * size)


def lamp(s, x, y, rz=0.0):
    """A street lamp with a hanging bill."""
    prof = [(0.16, 0), (0.16, 0.1), (0.09, 0.2), (0.07, 0.9), (0.09, 0.93), (0.045, 1.0), (0.035, 2.9)]
    s.lathe(s.iron, prof, (x, y, 0), 14)
    s.box(s.rng.choice(s.bills), (0.42, 0.02, 0.6), move(x, y - 0.08, 1.6, rz))
    s.box(s.iron, (0.6, 0.04, 0.04), (x, y, 2.7))
    for k in (-1, 1):
        lantern(s, x + 0.3 * k, y, 2.25)


def stall(s, x, y, rz=0.0):
    """A market stall: counter, posts, striped awning, trays of fruit."""
    s.at, rng = move(x, y, 0, rz), s.rng
    s.box(rng.choice(s.plank), (2.0, 0.8, 0.1), (0, 0, 0.85))
    s.box(rng.choice(s.cloth), (1.96, 0.03, 0.7), (0, -0.36, 0.45))
    for k in (-1, 1):
        for m in (-1, 1):
            s.box(s.plank[2], (0.06, 0.06, 2.3 + 0.2 * m), (k * 0.95, m * 0.45, 1.15 + 0.1 * m))
    s.box(rng.choice(s.cloth), (2.3, 1.35, 0.03), move(0, -0.1, 2.3, 0, 12))
    for i in range(4):
        s.box(s.plank[1], (0.44, 0.6, 0.12), (-0.75 + 0.5 * i, -0.02, 0.965))
        c = rng.choice(s.colors)
        for j in range(12):
            r = 0.06 * rng.uniform(0.85, 1.1)
            arc = [(r * math.sin(a * math.pi / 6), -r * math.cos(a * math.pi / 6)) for a in range(7)]
            s.lathe(c, arc, (-0.75 + 0.5 * i + 0.13 * (j % 3 - 1), 0.13 * (j // 3 - 1.5), 1.06), 12)
    s.box(rng.choice(s.bills), (0.3, 0.02, 0.42), (-0.6, -0.62, 2.0))
    s.at = Matrix.Identity(4)


def cafe(s, x, y, rz=0.0):
    """A round table with two chairs."""
    s.lathe(s.iron, [(0.22, 0), (0.22, 0.03), (0.03, 0.05), (0.03, 0.7)], (x, y, 0), 16)
    s.lathe(s.plank[1], [(0, 0.7), (0.36, 0.7), (0.36, 0.74), (0, 0.74)], (x, y, 0), 28)
    table_top(s, x, y, 0.74, 0.16)
    for k in (-1, 1):
        s.at = move(x, y, 0, rz + 90 + 90 * k) @ Matrix.Translation((0.62, 0, 0))
        s.box(s.plank[0], (0.4, 0.4, 0.04), (0, 0, 0.45))
        for i in (-1, 1):
            s.box(s.plank[0], (0.04, 0.04, 0.43), (-0.17, 0.17 * i, 0.215))
            s.box(s.plank[0], (0.04, 0.04, 0.92), (0.17, 0.17 * i, 0.46))
        for z in (0.6, 0.72, 0.84):
            s.box(s.plank[0], (0.025, 0.32, 0.06), (0.17, 0, z))
    s.at = Matrix.Identity(4)


def board(s, x, y, rz=0.0):
    """An A-board with a bill on it."""
    s.at = move(x, y, 0, rz)
    for k in (-1, 1):
        s.box(s.plank[2], (0.66, 0.03, 1.0), move(0, 0.14 * k, 0.5, 0, 14 * k))
    s.box(s.rng.choice(s.bills), (0.54, 0.012, 0.8), move(0, -0.164, 0.51, 0, -14))
    s.at = Matrix.Identity(4)


def bunting(s, y, half, z):
    """A sagging line of pennants across the street."""
    n = int(half * 5)
    for i in range(n):
        t = (i + 0.5) / n * 2 - 1
        twist, lean = 8 * s.rng.uniform(-1, 1), 8 * s.rng.uniform(-1, 1)
        s.at = move(t * half, y + 0.1 * t, z - 0.5 * (1 - t * t), twist, lean)
        flag = [(-0.13, 0, 0), (0.13, 0, 0), (0, 0, -0.32)]
        s.mesh(s.colors[i % 9], flag, [(0, 1, 2)], [(0, 0), (0.26, 0), (0.13, 0.3)])
        s.box(s.iron, (2.02 * half / n, 0.012, 0.012), move(0, 0, 0, 0, 0, math.degrees(math.atan(-t / half))))
    s.at = Matrix.Identity(4)


PROPS = dict(crates=crates, barrel=barrel, plant=plant, lamp=lamp, stall=stall, cafe=cafe, board=board)


def backdrop(stage, y):
    """The painted sky behind the set; it gives light to the camera only."""
    s = Shader("sky")
    cloud = s.noise(0.045, 0, 1, (1, 2.2, 1), 0.42, 0.66)
    color = s.mix("MIX", cloud, rgba((0.25, 0.42, 0.68)), rgba((0.80, 0.80, 0.78)))
    emit = s.node("Emission", None, dict(Color=color, Strength=0.9))
    s.link(emit.outputs[0], s.tree.nodes["Material Output"].inputs[0])
    part = stage.mesh(
        s.mat,
        [(-90, y, -5), (90, y, -5), (90, y, 70), (-90, y, 70)],
        [(0, 1, 2, 3)],
        [(-90, 0), (90, 0), (90, 75), (-90, 75)],
    )
    part.visible_diffuse = part.visible_glossy = part.visible_shadow = False


def build(cfg):
    """Build the whole set for one shot: `seed`, `half` street width, `length`, `props`, `scatter`."""
    Shader.ambient = cfg.get("ambient", 0.0)
    s = Set(cfg["seed"])
    rng, half, length = s.rng, cfg["half"], cfg["length"]
    words = WORDS[:]
    rng.shuffle(words)
    s.box(s.paving, (2 * half + 30, length + 60, 0.2), (0, length / 2 + 10, -0.1))
    for k in (-1, 1):
        s.box(s.kerb, (1.3, length + 12, 0.12), (k * (half - 0.65), length / 2 - 6, 0.06))
        y = -9.0
        while y < length:
            w = min(rng.uniform(4.4, 6.6), length - y + 1.5)
            at = move(k * (half + rng.uniform(0, 0.3)), y + w / 2, 0, 90 * k)
            house(s, at, w, rng.choice((6.1, 8.7, 8.8, 11.3)) + rng.uniform(0, 0.3), words.pop())
            words = words or WORDS[::-1]
            y += w
    gate = cfg["gate"]
    for k in (-1, 1):
        s.box(s.brick[0], (half - gate, 0.6, 4.4), (k * (half + gate) / 2, length + 0.3, 2.2))
        s.box(s.stone, (0.5, 0.75, 4.6), (k * (gate + 0.1), length + 0.3, 2.3))
        s.box(s.bills[k], (0.9, 0.02, 1.3), (k * (gate + 1.2), length - 0.02, 1.7))
    s.box(s.stone, (2 * half, 0.8, 0.5), (0, length + 0.3, 4.65))
    for x, dy, w in ((-5.2, 9, 6), (0.6, 11, 5.5), (6.2, 8.5, 5.6), (-11, 17, 8), (11, 19, 8)):
        house(s, move(x, length + dy, 0, 180), w, rng.choice((7.2, 8.8, 11.4)), rng.choice(WORDS))
    for y in cfg["flags"]:
        bunting(s, y, half, rng.uniform(3.6, 4.3))
    for kind, *where in cfg["props"]:
        PROPS[kind](s, *where)
    kinds = list(PROPS)
    for i in range(cfg["scatter"]):
        y = cfg["clear"] + (length - cfg["clear"] - 1) * (i + rng.random()) / cfg["scatter"]
        x = rng.choice((-1, 1)) * rng.uniform(0.35, 0.8) * half
        kind = kinds[i % len(kinds)]
        PROPS[kind](s, x, y, *([] if kind == "plant" else [rng.uniform(-30, 30)]))
    backdrop(s, length + 42)
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.data.angle, sun.data.color = 4.2, math.radians(3), (1.0, 0.88, 0.72)
    sun.rotation_euler = Vector(cfg.get("sun", (0.27, 0.62, -0.80))).to_track_quat("-Z", "Y").to_euler()
    bpy.context.collection.objects.link(sun)
    world = bpy.context.scene.world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (0.55, 0.70, 1.0, 1)
    world.node_tree.nodes["Background"].inputs[1].default_value = 1.0 - 1.4 * Shader.ambient
    return s
