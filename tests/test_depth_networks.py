"""Depth networks through the code that loads them: every family made tiny, random and on the spot; none is fetched."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from depth_clip import HEIGHT, WIDTH, maps_of, one_line

from sfm.depth import load
from sfm.depth.catalog import CATALOG
from sfm.errors import InputError, MissingDependencyError
from sfm.video import Video, open_video

# transformers


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders as `save_pretrained` leaves them, by architecture."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for networks this small more of them only wait for each other
    place = tmp_path_factory.mktemp("networks")
    stages = [f"stage{n}" for n in (1, 2, 3, 4)]
    tiny = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "initializer_range": 0.3}
    neck = {"neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8, "initializer_range": 0.3}
    dino = transformers.Dinov2Config(
        **tiny, mlp_ratio=2, image_size=56, patch_size=14, out_features=stages, reshape_hidden_states=False
    )
    beit = transformers.BeitConfig(
        **tiny, intermediate_size=16, image_size=64, patch_size=16, use_relative_position_bias=True,
        reshape_hidden_states=False, out_features=stages,
    )  # fmt: skip
    eye = transformers.Dinov2Config(**tiny, mlp_ratio=2, image_size=32, patch_size=8)
    configs = {
        "depth_anything": transformers.DepthAnythingConfig(
            **neck, backbone_config=dino, reassemble_hidden_size=16, head_hidden_size=4
        ),
        "metric": transformers.DepthAnythingConfig(
            **neck, backbone_config=dino, reassemble_hidden_size=16, head_hidden_size=4,
            depth_estimation_type="metric", max_depth=20,
        ),
        "dpt": transformers.DPTConfig(
            **tiny | neck, intermediate_size=16, image_size=32, patch_size=16, backbone_out_indices=[0, 1, 2, 3],
            is_hybrid=False, use_batch_norm_in_fusion_residual=False,
        ),
        "zoedepth": transformers.ZoeDepthConfig(
            **neck, backbone_config=beit, bottleneck_features=8, num_relative_features=4,
            num_attractors=[4, 2, 2, 1], bin_embedding_dim=8,
            bin_configurations=[{"name": "nyu", "n_bins": 8, "min_depth": 0.001, "max_depth": 10.0}],
        ),
        "depth_pro": transformers.DepthProConfig(
            fusion_hidden_size=16, patch_size=32, intermediate_hook_ids=[2, 0], intermediate_feature_dims=[16, 16],
            scaled_images_ratios=[0.5, 1.0], scaled_images_overlap_ratios=[0.0, 0.25],
            scaled_images_feature_dims=[16, 16], use_fov_model=True, num_fov_head_layers=0, initializer_range=0.1,
            image_model_config=eye, patch_model_config=eye, fov_model_config=eye,
        ),
    }  # fmt: skip
    square = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 64, "width": 64}}
    wide = {"do_resize": True, "keep_aspect_ratio": True, "ensure_multiple_of": 14, "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3, "do_normalize": True, "do_rescale": True}  # fmt: skip
    processors = {
        "depth_anything": wide | {"image_processor_type": "DPTImageProcessor", "size": {"height": 56, "width": 56}},
        "metric": wide | {"image_processor_type": "DPTImageProcessor", "size": {"height": 56, "width": 56}},
        "dpt": square | {"image_processor_type": "DPTImageProcessor", "size": {"height": 32, "width": 32}},
        "zoedepth": square | {"image_processor_type": "ZoeDepthImageProcessor", "do_pad": True},
        "depth_pro": square | {"image_processor_type": "DepthProImageProcessor"},
    }
    for name, config in configs.items():
        network = transformers.AutoModelForDepthEstimation.from_config(config)
        network.save_pretrained(place / name)
        (place / name / "preprocessor_config.json").write_text(json.dumps(processors[name]))
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    transformers.BertConfig(**sizes).save_pretrained(place / "bert")
    (place / "bert" / "preprocessor_config.json").write_text("{}")
    yield place
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("depth_anything", "affine_disparity"),
        ("metric", "metric"),
        ("dpt", "affine_disparity"),
        ("zoedepth", "metric"),
        ("depth_pro", "metric"),
    ],
)
def test_every_architecture_runs(saved, video, name, kind):
    model = load(saved / name)
    assert (model.kind, model.name) == (kind, name) and model.revision.startswith("sha256:")
    found = maps_of(model, video)
    assert found.shape == (3, HEIGHT, WIDTH) and found.dtype == np.float32 and np.isfinite(found).all()
    assert found.std() > 0 and np.abs(found[0] - found[1]).max() > 0  # each frame its own
    np.testing.assert_array_equal(found, maps_of(load(str(saved / name)), video))
    assert load(saved / name, "disparity").kind == "disparity"


def test_the_maps_are_those_of_the_network(saved, video):
    """Against transformers alone, at the network's own size."""
    import torch
    from transformers import AutoModelForDepthEstimation, DPTImageProcessorPil

    network = AutoModelForDepthEstimation.from_pretrained(saved / "dpt")
    processor = DPTImageProcessorPil.from_pretrained(saved / "dpt")
    frames = [rgb for _, rgb in video]
    with torch.inference_mode():
        output = network(**processor(images=frames, return_tensors="pt")).predicted_depth.numpy()
    expected = [cv2.resize(values, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) for values in output]
    np.testing.assert_allclose(maps_of(load(saved / "dpt"), video), expected, rtol=1e-3, atol=1e-3)


def test_large_plates_get_maps_of_bounded_size_and_their_aspect(saved):
    video = Video.from_arrays([np.zeros((817, 1920, 3), np.uint8)] * 2)
    assert maps_of(load(saved / "dpt"), video).shape == (2, 327, 768)


class Stub:
    """A network that gives what it is told, called like one of transformers."""

    def __init__(self, family: str, **outputs):
        self.config, self.outputs = type("Config", (), {"model_type": family})(), outputs

    def to(self, *_):
        return self

    eval = to

    def __call__(self, pixel_values):
        import torch

        return type("Output", (), {name: torch.tensor(value) for name, value in self.outputs.items()})()


def stubbed(family: str, do_pad: bool = False, **outputs):
    torch = pytest.importorskip("torch")
    from sfm.depth.transformers_network import HuggingFaceNetwork

    class Processor:
        def __call__(self, images, return_tensors):
            return {"pixel_values": torch.zeros(len(images), 3, 8, 8)}

    processor = Processor()
    processor.do_pad = do_pad  # pyright: ignore[reportAttributeAccessIssue]
    return HuggingFaceNetwork(Stub(family, **outputs), processor, family)


def test_depth_pro_tells_the_field_of_view_and_is_scaled_by_it():
    """Its output is 1 / depth in focal lengths: half as many degrees make the same picture farther."""
    network = stubbed("depth_pro", predicted_depth=np.full((2, 8, 8), 0.5), field_of_view=[90.0, 53.13010235])
    assert np.isnan(network.field_of_view_deg)
    found = network(np.zeros((2, HEIGHT, WIDTH, 3), np.uint8))
    np.testing.assert_allclose(found[:, 0, 0], [1.0, 2.0], rtol=1e-6)  # 1 / (0.5 * 2 tan(fov / 2))
    assert network.field_of_view_deg == pytest.approx((90 + 53.13010235) / 2)
    assert np.isnan(stubbed("dpt", predicted_depth=np.zeros((1, 8, 8))).field_of_view_deg)


def test_the_field_of_view_is_passed_on(saved, video):
    model = load(saved / "depth_pro")
    assert np.isnan(model.field_of_view_deg)
    maps_of(model, video)
    assert np.isfinite(model.field_of_view_deg)
    plain = load(saved / "dpt")
    maps_of(plain, video)
    assert np.isnan(plain.field_of_view_deg)


def test_the_border_zoedepth_puts_around_pictures_is_taken_off():
    rows, columns = int(3 * np.sqrt(HEIGHT / 2)), int(3 * np.sqrt(WIDTH / 2))
    whole = np.full((1, HEIGHT + 2 * rows, WIDTH + 2 * columns), 99.0)
    whole[:, rows:-rows, columns:-columns] = 3.0
    assert (stubbed("zoedepth", True, predicted_depth=whole)(np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)) == 3).all()


def test_weights_without_the_layer_nobody_uses(saved, video, tmp_path):
    """As in Intel/dpt-large: the first fusion layer has a residual in transformers that no picture passes."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(saved / "dpt", tmp_path / "dpt")
    weights = load_file(folder / "model.safetensors")
    left = {key: value for key, value in weights.items() if "fusion_stage.layers.0.residual_layer1" not in key}
    assert len(left) < len(weights)
    save_file(left, folder / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(maps_of(load(folder), video), maps_of(load(saved / "dpt"), video))


def _cut(folder, size):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])


def _without_a_tensor(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights[min(weights)]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _other_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"fusion_hidden_size": 12}))


DAMAGES = {
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors"),
    "no byte": (lambda folder: _cut(folder, 0), "damaged or cut short"),
    "half the weights": (lambda folder: _cut(folder, 9000), "damaged or cut short"),
    "a byte less": (lambda folder: _cut(folder, -1), "damaged or cut short"),
    "a tensor less": (_without_a_tensor, r"lack 1 tensors \(.*\): not complete"),
    "other shapes": (_other_shape, "other shapes than its config.json"),
    "no processor": (lambda folder: (folder / "preprocessor_config.json").unlink(), "no preprocessor_config.json"),
    "no json": (lambda folder: (folder / "config.json").write_text("{"), "not a valid JSON"),
    "no type": (lambda folder: (folder / "config.json").write_text("{}"), "model_type"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_networks_are_one_line(saved, tmp_path, capfd, case):
    damage, words = DAMAGES[case]
    folder = shutil.copytree(saved / "dpt", tmp_path / "net")
    damage(folder)
    with pytest.raises(InputError, match=words) as caught:
        load(folder)
    assert "net" in one_line(caught)
    assert capfd.readouterr() == ("", "")  # transformers has its say in the exception, not on the terminal


def test_a_network_of_another_trade(saved):
    with pytest.raises(InputError, match="bert: a bert network, which gives no depth"):
        load(saved / "bert")


# names


def test_names_nobody_knows_list_the_closest():
    with pytest.raises(InputError, match=r"did you mean depth-anything-v2-small") as caught:
        load("depth-anything-v3-small")
    assert "zoedepth" not in one_line(caught)
    with pytest.raises(InputError, match=", ".join(CATALOG)):
        load("7")


def test_without_the_hub_it_says_what_to_do(saved, video, monkeypatch, tmp_path):
    with pytest.raises(InputError, match=r"depth-pro: cannot be had from the hub \(HF_HUB_OFFLINE is set\)") as caught:
        load("depth-pro")
    assert "`sfm depth download depth-pro -o depth-pro`" in one_line(caught)
    with pytest.raises(InputError, match=r"some/net: cannot be had from the hub .* no folder of that name"):
        load("some/net")
    monkeypatch.setenv("SFM_MODELS", str(tmp_path))
    shutil.copytree(saved / "dpt", tmp_path / "depth-anything-v2-small")
    model = load("depth-anything-v2-small")
    assert (model.name, model.kind, model.sigma) == ("depth-anything-v2-small", "affine_disparity", 0.08)
    assert maps_of(model, video).shape == (3, HEIGHT, WIDTH)


def test_what_the_hubs_own_cache_holds_needs_no_hub(saved, video, caplog, request):
    """Laid out as huggingface_hub leaves it: a snapshot by commit, and a name for the newest."""
    pytest.importorskip("transformers")
    from huggingface_hub import constants

    known, commit = CATALOG["midas-dpt-hybrid"], "0123456789abcdef0123456789abcdef01234567"
    place = Path(constants.HF_HUB_CACHE) / f"models--{known.hub_id.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    request.addfinalizer(lambda: shutil.rmtree(place))
    snapshot = shutil.copytree(saved / "dpt", place / "snapshots" / commit)
    model = load("midas-dpt-hybrid")
    assert (model.revision, model.kind, model.sigma) == (commit, known.kind, known.sigma)
    assert maps_of(model, video).shape == (3, HEIGHT, WIDTH)
    assert load(known.hub_id).revision == commit and not caplog.records  # nothing is said to be downloaded
    assert load("auto", shot=video.shot).name == "midas-dpt-hybrid"
    (snapshot / "model.safetensors").unlink()  # a download that was cut off
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        load("midas-dpt-hybrid")


def test_a_hub_that_does_not_answer_is_found_out_at_once(monkeypatch):
    pytest.importorskip("transformers")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9 does not answer.*sfm depth download zoedepth"):
        load("zoedepth")


def test_auto_takes_what_is_here_and_free(saved, video, monkeypatch, tmp_path):
    monkeypatch.setenv("SFM_MODELS", str(tmp_path))
    shutil.copytree(saved / "depth_pro", tmp_path / "depth-pro")  # not for paid work: never chosen unasked
    with pytest.raises(InputError, match=r"no maps beside the clip; .*sfm depth download.*; or --depth none"):
        load("auto", shot=video.shot)
    shutil.copytree(saved / "zoedepth", tmp_path / "zoedepth")
    assert load("auto", shot=video.shot).name == "zoedepth"


def test_auto_prefers_maps_beside_the_clip(tmp_path):
    for folder, suffix in (("frames", "png"), ("depth", "npy"), ("frames_depth", "npy")):
        (tmp_path / folder).mkdir()
        for number in (1001, 1002):
            file = tmp_path / folder / f"shot.{number}.{suffix}"
            if suffix == "png":
                cv2.imwrite(str(file), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
            else:
                np.save(file, np.ones((9, 16)))
    shot = open_video(tmp_path / "frames").shot
    assert load("auto", "disparity", shot).name == str(tmp_path / "frames_depth")
    shutil.rmtree(tmp_path / "frames_depth")
    assert load("auto", "disparity", shot).name == str(tmp_path / "depth")
    assert load("auto", "disparity", shot).kind == "disparity"


def test_networks_without_their_packages(saved, monkeypatch, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"")
    (tmp_path / "net.tflite").write_bytes(b"")
    (tmp_path / "net.pt").write_bytes(b"")
    for package, spec, pip in (
        ("transformers", saved / "dpt", r"of the extra \[depth\]: .* -m pip install torch transformers pillow"),
        ("onnxruntime", tmp_path / "net.onnx", r"of the extra \[depth\]: .* -m pip install onnxruntime"),
        ("kornia", tmp_path / "net.pt", r"of the extra \[depth\]: .* -m pip install torch kornia"),
        ("ai_edge_litert.interpreter", tmp_path / "net.tflite", r"\[tflite\]: .* -m pip install ai-edge-litert"),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(MissingDependencyError, match=pip):
                load(spec)
