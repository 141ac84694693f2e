"""Turn a rendering of render_sample.py into a shot: clip, network-like depth maps, true depth and cameras.

usage: python data/make_priors.py --render DIR [--out data/sample_shot] [--name sample] [--crf 12]

The made-up network knows no unit, compresses depth by a power, is wrong by a smooth field that sticks mostly
to the scene, flickers in scale from frame to frame and blurs depth edges, as single-image depth networks do.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

UNIT, POWER, FIELD, FLICKER, BLUR = 1 / 3.7, 0.8, 0.20, 0.05, 1.1
PNG_SCALE = 1000.0
SKY = 100.0


def read_depth(folder):
    """Depth along the camera axis of every frame, (frames, height, width) in metres."""
    import OpenEXR  # not for those who only want `network_depth`

    maps = []
    for path in sorted(pathlib.Path(folder).glob("*.exr")):
        channels = {k: c for part in OpenEXR.File(str(path)).parts for k, c in part.channels.items()}
        maps.append(np.array(channels["ViewLayer.Depth.Z"].pixels, np.float64))
    return np.minimum(np.stack(maps), SKY)


def unproject(depth, frame, width, height):
    """World points of the centres of a depth map's pixels."""
    h, w = depth.shape
    u, v = np.meshgrid((np.arange(w) + 0.5) * width / w, (np.arange(h) + 0.5) * height / h)
    rays = np.stack([(u - frame["cx"]) / frame["fx"], (v - frame["cy"]) / frame["fy"], np.ones_like(u)], -1)
    pose = np.array(frame["cam_from_world"])
    return (rays * depth[..., None] - pose[:, 3]) @ pose[:, :3]


def waves(rng, dims, lo, hi, count=24):
    """A smooth random function of `dims` coordinates with unit variance; wave numbers lie in [lo, hi]."""
    k = rng.normal(size=(count, dims))
    k *= (rng.uniform(lo, hi, count) / np.linalg.norm(k, axis=1))[:, None]
    phase = rng.uniform(0, 2 * np.pi, count)
    return lambda x: np.sqrt(2 / count) * np.cos(np.tensordot(x, k, (-1, 1)) + phase).sum(-1)


def network_depth(depth, gt, seed=5):
    """Network-like maps for true depth maps (frames, height, width); float64, unknown unit."""
    rng = np.random.default_rng(seed)
    n, h, w = depth.shape
    frames = gt["frames"]
    mid = np.array(frames[n // 2]["cam_from_world"])
    half = 0.5 * gt["width"] / frames[n // 2]["fx"]
    x, y = np.meshgrid(np.linspace(-1, 1, w), np.linspace(-h / w, h / w, h))
    on_scene, on_lens = waves(rng, 3, 1.0, 4.0), waves(rng, 2, 1.0, 3.0)
    drifting = waves(rng, 3, 1.0, 3.0)
    flicker = rng.normal(0, FLICKER, n)
    field = np.empty_like(depth)
    for i in range(n):
        p = unproject(depth[i], frames[i], gt["width"], gt["height"]) @ mid[:, :3].T + mid[:, 3]
        z = np.maximum(p[..., 2], 0.05)
        seen = np.stack([p[..., 0] / z / half, p[..., 1] / z / half, 0.35 * np.log(z)], -1)
        when = np.full_like(x, 2.0 * i / gt["fps"])
        field[i] = (
            0.8 * on_scene(seen) + 0.45 * on_lens(np.stack([x, y], -1)) + 0.4 * drifting(np.stack([x, y, when], -1))
        )
    field *= FIELD / field.std()
    log = POWER * np.log(depth) + np.log(UNIT) + field + flicker[:, None, None]
    return np.exp(gaussian_filter(log, (0, BLUR, BLUR), mode="nearest"))


def encode(frames, target, crf):
    """Make the H.264 clip from the rendered PNGs."""
    first = sorted(pathlib.Path(frames).glob("*.png"))[0].name
    stem = first.split(".")[0]
    subprocess.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-y",
            "-framerate",
            "24",
            "-start_number",
            "1",
            "-i",
            f"{frames}/{stem}.%04d.png",
            "-c:v",
            "libx264",
            "-preset",
            "veryslow",
            "-crf",
            str(crf),
            "-pix_fmt",
            "yuv420p",
            "-threads",
            "1",
            "-movflags",
            "+faststart",
            "-fflags",
            "+bitexact",
            "-flags:v",
            "+bitexact",
            "-map_metadata",
            "-1",
            str(target),
        ],
        check=True,
    )


def check_clip(frames, clip):
    """Frame count of the clip and the lowest and mean PSNR of its luma against the rendered PNGs."""
    cap, psnr = cv2.VideoCapture(str(clip)), []
    for path in sorted(pathlib.Path(frames).glob("*.png")):
        ok, img = cap.read()
        if not ok:
            raise SystemExit(f"{clip} ends before {path.name}")
        psnr.append(cv2.PSNR(*(cv2.cvtColor(x, cv2.COLOR_BGR2GRAY) for x in (cv2.imread(str(path)), img))))
    if cap.read()[0]:
        raise SystemExit(f"{clip} has too many frames")
    return len(psnr), min(psnr), float(np.mean(psnr))


def main():
    """Write the shipped folder and print its checks."""
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument("--render", type=pathlib.Path, required=True)
    here = pathlib.Path(__file__).resolve().parent
    ap.add_argument("--out", type=pathlib.Path, default=here / "sample_shot")
    ap.add_argument("--name", default="sample")
    ap.add_argument("--crf", type=int, default=12)
    arg = ap.parse_args()
    gt = json.loads((arg.render / "gt.json").read_text())
    depth = read_depth(arg.render / "depth")
    prior = network_depth(depth, gt)
    maps = arg.out / "depth"
    maps.mkdir(parents=True, exist_ok=True)
    for i, one in enumerate(prior):
        code = np.clip(np.rint(one * PNG_SCALE), 1, 65535).astype(np.uint16)
        cv2.imwrite(str(maps / f"{arg.name}.{i + 1:04d}.png"), code, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    np.savez_compressed(arg.out / "true_depth.npz", depth=depth.astype(np.float16))
    for i, frame in enumerate(gt["frames"]):
        frame["name"] = f"{arg.name}.{i + 1:04d}.png"
    (arg.out / "gt.json").write_text(json.dumps(gt))
    clip = arg.out / f"{arg.name}.mp4"
    encode(arg.render / "frames", clip, arg.crf)
    count, low, mean = check_clip(arg.render / "frames", clip)
    print(f"frames {count}, luma PSNR min {low:.2f} dB, mean {mean:.2f} dB")
    slope = np.polyfit(np.log(depth).ravel(), np.log(prior).ravel(), 1)
    rest = (np.log(prior) - np.polyval(slope, np.log(depth))).std()
    print(f"depth {depth.min():.2f}..{depth.max():.2f} m, median {np.median(depth):.2f}")
    print(f"prior against truth: power {slope[0]:.3f}, rest {rest:.3f}")
    for path in (clip, arg.out / "gt.json", arg.out / "true_depth.npz"):
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size, path.name)
    pngs = sorted(maps.glob("*.png"))
    data = b"".join(p.read_bytes() for p in pngs)
    print(hashlib.sha256(data).hexdigest(), len(data), f"depth/{arg.name}.*.png, in order")


if __name__ == "__main__":
    main()
