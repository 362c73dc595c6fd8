"""The profile's figures: exact ones equal published ones, measured ones are sane, and each has its circumstances."""

from __future__ import annotations

import json
import time

import pytest
import torch

from bob.backbones.catalogue import find
from bob.backbones.loader import build_backbone
from bob.core import machine as hardware
from bob.core import peak_memory as memory
from bob.core.errors import BobError, ConfigError
from bob.core.peak_memory import peak_rise_mb, status_kb
from bob.jobs.row import COLUMNS
from bob.training import profiling

FIGURES = {
    "params_m",
    "gmacs",
    "model_mb",
    "latency_ms_b1_p50",
    "latency_ms_b1_low",
    "latency_ms_b1_high",
    "latency_ms_b1_p95",
    "throughput_img_s",
    "throughput_low",
    "throughput_high",
    "throughput_batch",
    "layer_kinds",
    "infer_peak_mb_b1",
    "infer_peak_mb_b32",
    "train_peak_mb",
    "train_step_batch",
    "profile_threads",
    "profile_device",
    "profile_precision",
    "profile_image_size",
    "profile_rounds",
    "profile_within",
    "profile_run",
    "profile_taken_at",
    "profile_others_cpu",
}


def circumstances(image_size=64, precision="fp32", device="cpu", threads=1):
    return profiling.Circumstances(image_size=image_size, precision=precision, device=device, threads=threads)


@pytest.fixture(scope="module")
def lite0():
    return profiling.measure_profile(find("tf_efficientnet_lite0.in1k"), circumstances(image_size=128))


@pytest.mark.parametrize(
    ("arch", "published"),
    [
        ("resnet50", 4.1),
        ("vit_small_patch16_224", 4.6),
        ("tf_efficientnet_lite0", 0.4),
        ("swin_tiny_patch4_window7_224", 4.5),
    ],
)
def test_multiply_adds_at_224_px_are_the_published_ones(arch, published):
    model = build_backbone(find(f"{arch}.random"), weights_path=None, image_size=224, seed=0)
    assert profiling.gmacs(model) == pytest.approx(published, abs=0.06)


def test_a_profile_has_every_column_of_the_row_with_its_circumstances(lite0):
    columns = {column if isinstance(column, str) else column.name for column in COLUMNS}
    assert not FIGURES - set(lite0)
    assert not FIGURES - columns
    assert (lite0["profile_threads"], lite0["profile_precision"], lite0["profile_image_size"]) == (1, "fp32", 128)
    assert lite0["profile_device"] == hardware.device_name("cpu", 1)
    assert json.loads(json.dumps(lite0)) == lite0


def test_the_figures_agree_with_each_other(lite0):
    assert lite0["params_m"] == pytest.approx(3.37, abs=0.01)
    assert lite0["model_mb"] == pytest.approx(4 * lite0["params_m"], rel=0.05)
    assert 0 < lite0["latency_ms_b1_low"] <= lite0["latency_ms_b1_p50"] <= lite0["latency_ms_b1_high"]
    assert lite0["latency_ms_b1_p50"] <= lite0["latency_ms_b1_p95"]
    assert lite0["throughput_low"] <= lite0["throughput_img_s"] <= lite0["throughput_high"]
    assert lite0["profile_rounds"] >= 6
    assert lite0["throughput_img_s"] > 0
    assert lite0["model_mb"] < lite0["infer_peak_mb_b1"] < lite0["infer_peak_mb_b32"]
    # Training holds gradients and two moments beside the weights: four times the weights and the activations.
    assert lite0["train_peak_mb"] > 3.5 * lite0["model_mb"]
    assert lite0["train_step_batch"] >= 2


def test_profiling_leaves_the_callers_threads_and_generator_alone():
    before = torch.get_num_threads()
    torch.manual_seed(5)
    wanted = torch.rand(2)
    torch.manual_seed(5)
    torch.set_num_threads(3)
    try:
        small = find("mobilenetv3_small_100.random")
        figures = profiling.measure_round(small, circumstances())
        assert (figures["profile_threads"], torch.get_num_threads()) == (1, 3)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.rand(2), wanted)


def test_every_checkpoint_and_control_of_an_architecture_shares_the_exact_figures(lite0):
    control = find("tf_efficientnet_lite0.random")
    model = build_backbone(control, weights_path=None, image_size=128, seed=3)
    assert profiling.gmacs(model) == pytest.approx(lite0["gmacs"], rel=1e-9)


def test_an_unknown_precision_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match="expected one of fp32, bf16, fp16, auto"):
        profiling.measure_round(find("resnet18.a1_in1k"), circumstances(precision="int8"))


def test_a_slow_model_is_measured_with_fewer_runs_and_a_smaller_stated_batch(monkeypatch):
    model = build_backbone(find("mobilenetv3_small_100.random"), weights_path=None, image_size=64, seed=0)
    bench = profiling._Bench(model, device="cpu", precision="fp32")
    batches = []
    monkeypatch.setattr(bench, "_forward", lambda pictures: batches.append(len(pictures)) or time.sleep(0.3))
    latency = bench.latency()
    rate = bench.throughput()
    assert len(batches) < 20, "a fast model is given a hundred runs for its latency alone"
    assert latency["latency_ms_b1_p50"] >= 300
    assert (rate["throughput_batch"], bench._train_batch()) == (1, 4)


def test_peak_memory_sees_a_passing_allocation_and_not_what_was_there():
    kept = torch.ones(40_000_000)
    rise = peak_rise_mb(lambda: torch.ones(25_000_000).sum(), "cpu")
    assert 95 < rise < 130
    assert peak_rise_mb(lambda: None, "cpu") < 5
    assert kept.numel() == 40_000_000


def test_memory_that_the_allocator_kept_does_not_hide_a_peak():
    blocks = [bytearray(100_000) for _ in range(1000)]
    del blocks
    assert peak_rise_mb(lambda: [bytearray(100_000) for _ in range(1000)], "cpu") > 90


def test_a_missing_counter_is_an_error_not_a_zero():
    with pytest.raises(BobError, match="has no VmNothing"):
        status_kb("VmNothing")


@pytest.fixture
def bench():
    model = build_backbone(find("mobilenetv3_small_100.random"), weights_path=None, image_size=64, seed=0)
    made = profiling._Bench(model, device="cpu", precision="fp32")
    made.forward_s = 0.001
    return made


@pytest.mark.parametrize(("fits", "batch"), [(8, 8), (4, 4), (2, 2), (1, None)])
def test_out_of_memory_halves_the_training_batch_and_in_the_end_leaves_training_out(monkeypatch, bench, fits, batch):
    step = bench._train_step

    def limited(pictures, optimizer):
        if len(pictures) > fits:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
        step(pictures, optimizer)

    monkeypatch.setattr(bench, "_train_step", limited)
    figures = bench.memory(weights_mb=10.0)
    assert figures.get("train_step_batch") == batch
    trained = {"train_img_s", "train_peak_mb", "train_step_batch"} if batch else set()
    assert set(figures) == {"infer_peak_mb_b1", "infer_peak_mb_b32"} | trained
    assert not bench.model.training


def test_a_batch_of_32_that_does_not_fit_or_takes_too_long_leaves_its_peak_out(monkeypatch, caplog, bench):
    forward = bench._forward

    def limited(pictures):
        if len(pictures) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
        forward(pictures)

    monkeypatch.setattr(bench, "_forward", limited)
    assert "infer_peak_mb_b1" in (found := bench.memory(weights_mb=10.0)) and "infer_peak_mb_b32" not in found
    assert "does not fit the memory" in caplog.text
    monkeypatch.setattr(bench, "_forward", forward)
    bench.forward_s = 1.0
    assert "infer_peak_mb_b32" not in bench.memory(weights_mb=10.0) and "would take too long" in caplog.text


def test_the_peak_at_a_batch_is_the_same_however_fast_the_host_is(bench):
    peaks = []
    for bench.forward_s in (1e-4, 1e-1):
        peaks.append(bench.memory(weights_mb=10.0)["infer_peak_mb_b32"])
    assert peaks[0] == pytest.approx(peaks[1], rel=0.25)


def test_another_error_in_training_is_no_lack_of_memory(monkeypatch, bench):
    monkeypatch.setattr(bench, "_train_step", lambda pictures, optimizer: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        bench.memory(weights_mb=10.0)


@pytest.mark.parametrize("counter", ["CLEAR_REFS", "STATUS"])
def test_a_profile_without_a_memory_counter_lacks_only_the_peaks(tmp_path, monkeypatch, caplog, bench, counter):
    monkeypatch.setattr(memory, counter, tmp_path / "no" / "counter")
    assert set(bench.memory(weights_mb=10.0)) == {"train_img_s", "train_step_batch"}
    assert "lacks a peak of memory" in caplog.text


def test_later_rounds_time_the_batch_they_are_given_and_repeat_nothing_else():
    small = find("mobilenetv3_small_100.random")
    first = profiling.measure_round(small, circumstances())
    later = profiling.next_round([{**first, "profile_others_cpu": 0.0}], small, circumstances())
    times = {"latency_ms_b1_p50", "latency_ms_b1_p95", "throughput_img_s", "throughput_batch"}
    assert set(later) == {*times, "profile_others_cpu", "round_s"}
    assert set(first) > set(later) and later["throughput_batch"] == first["throughput_batch"]


def test_models_of_other_depth_and_width_have_the_same_kinds_of_layers():
    def kinds(name):
        return profiling.layer_kinds(build_backbone(find(f"{name}.random"), weights_path=None, image_size=64, seed=0))

    assert kinds("tf_efficientnet_lite0") == kinds("tf_efficientnet_lite1")
    assert kinds("resnet18") == kinds("resnet34") != kinds("tf_efficientnet_lite0")
    assert "grouped Conv2d" in kinds("tf_efficientnet_lite0") and "grouped" not in kinds("resnet18")


def test_the_hardware_class_names_the_processor_and_its_threads():
    assert hardware.device_name("cpu", 2).endswith(", 2 threads")
    assert hardware.device_name("cpu", 1).endswith(", 1 thread")
    assert hardware.device_name("cpu", 1) != hardware.device_name("cpu", 2)


@pytest.mark.parametrize(("bf16_s", "chosen"), [(0.5, "bf16"), (0.9, "fp32"), (1.0 / 1.3, "bf16"), (30.0, "fp32")])
def test_a_lower_precision_needs_a_clear_win_and_is_measured_once(tmp_path, monkeypatch, bf16_s, chosen):
    measured = []

    def step(device, precision):
        measured.append(precision)
        return {"fp32": 1.0, "bf16": bf16_s}[precision]

    monkeypatch.setattr(hardware, "_training_step_s", step)
    assert hardware.faster_precision("cpu", tmp_path) == chosen
    assert hardware.faster_precision("cpu", tmp_path) == chosen
    assert measured == ["fp32", "bf16"]


def test_a_damaged_cached_precision_is_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "_training_step_s", lambda device, precision: 1.0)
    hardware.faster_precision("cpu", tmp_path)
    [path] = (tmp_path / "precision").iterdir()
    path.write_text("{")
    assert hardware.faster_precision("cpu", tmp_path) == "fp32"
    assert json.loads(path.read_text())["precision"] == "fp32"


def test_the_micro_benchmark_runs_for_real(tmp_path):
    assert hardware.faster_precision("cpu", tmp_path) in ("fp32", "bf16")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_profile_is_complete(precision):
    where = circumstances(image_size=224, precision=precision, device="cuda:0")
    figures = profiling.measure_profile(find("resnet50.random"), where)
    assert set(figures) >= FIGURES
    assert figures["train_peak_mb"] > figures["model_mb"] * 3.5
    assert figures["profile_device"] == torch.cuda.get_device_name(0)
