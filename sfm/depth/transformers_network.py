"""A depth network of transformers: pictures into its input, its output into maps.

The last step is our own: that of transformers needs torchvision for some networks, and its bicubic interpolation gives
values beyond those of the network at the edges of things.
"""

from typing import Any

import numpy as np

from sfm.depth.network import NetworkOptions, device_and_precision, prepared

MAP_SIDE = 768  # px; longest side of the maps kept: what lies between is interpolated anyway


class HuggingFaceNetwork:
    """A network and its picture processor: frames (n, height, width, 3) uint8 to maps (n, h, w) float32."""

    def __init__(self, network: Any, processor: Any, name: str):
        self.device, self.precision = device_and_precision()
        self.network, self.processor, self.name = network.to(self.device, self.precision).eval(), processor, name
        self.fields_of_view: list[float] = []

    @property
    def field_of_view_deg(self) -> float:
        """Horizontal, median over the frames seen so far; NaN when the network does not estimate it."""
        return float(np.median(self.fields_of_view)) if self.fields_of_view else float("nan")

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Maps of some frames, their longest side at most `MAP_SIDE`."""
        import torch

        with torch.inference_mode():
            inputs = self.processor(images=list(frames), return_tensors="pt")
            output = self.network(pixel_values=inputs["pixel_values"].to(self.device, self.precision))
            maps = self._maps(output, *frames.shape[1:3])
            return maps.cpu().numpy()

    def _maps(self, output: Any, height: int, width: int) -> Any:
        """The network's output as maps in the aspect ratio of the frames of height x width px."""
        import torch

        maps, family = output.predicted_depth.float(), self.network.config.model_type
        if family == "zoedepth" and getattr(self.processor, "do_pad", False):
            maps = _without_border(maps, height, width)
        if family == "depth_pro" and (angles := getattr(output, "field_of_view", None)) is not None:
            angles = angles.float().reshape(-1)
            self.fields_of_view += angles.tolist()
            # it sees 1 / depth in focal lengths
            maps = maps * (2 * torch.tan(torch.deg2rad(angles) / 2))[:, None, None]
        scale = min(1.0, MAP_SIDE / max(height, width))
        maps = _resized(maps, max(round(height * scale), 1), max(round(width * scale), 1))
        return 1 / maps.clamp(1e-4, 1e4) if family == "depth_pro" else maps


class PlainProcessor:
    """Pictures resized and normalised, for a network whose own processor needs torchvision."""

    def __init__(self, size: dict[str, int], image_mean: list[float], image_std: list[float], **_: Any):
        self.options = NetworkOptions(
            size=(int(size["height"]), int(size["width"])), mean=tuple(image_mean), std=tuple(image_std)
        )

    def __call__(self, images: list[np.ndarray], return_tensors: str) -> dict[str, Any]:
        """Pictures (height, width, 3) uint8 as the network's input."""
        import torch

        return {"pixel_values": torch.from_numpy(prepared(np.stack(images), self.options))}


def _resized(maps: Any, height: int, width: int) -> Any:
    import torch

    return torch.nn.functional.interpolate(maps[:, None], (height, width), mode="bilinear")[:, 0]


def _without_border(maps: Any, height: int, width: int) -> Any:
    """ZoeDepth's input is the picture with a mirrored border around it, as wide as its authors chose."""
    rows, columns = int(3 * (height / 2) ** 0.5), int(3 * (width / 2) ** 0.5)
    whole = _resized(maps, height + 2 * rows, width + 2 * columns)
    return whole[:, rows : rows + height, columns : columns + width]
