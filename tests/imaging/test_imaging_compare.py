"""Runs side by side: which ones may stand there, and that each row is its photograph's."""

import csv

import pytest
import torch
import yaml
from photographs import write_bsds
from PIL import Image

from lit_implicit import ExplicitLightningModule
from lit_implicit.loading import CONFIG_KEY
from lit_implicit_imaging.baselines import ImagingPass
from lit_implicit_imaging.compare import main
from lit_implicit_imaging.data import ImagingDataModule
from lit_implicit_imaging.denoiser import ImagingDRUNet
from lit_implicit_imaging.measures import psnr
from lit_implicit_imaging.objective import ImagingObjective

CHANNELS = [4, 4, 4, 4]
NETWORK = {
    "class_path": "lit_implicit_imaging.baselines.ImagingPass",
    "init_args": {
        "denoiser": {
            "class_path": "lit_implicit_imaging.denoiser.ImagingDRUNet",
            "init_args": {"channels": CHANNELS, "residual": True},
        }
    },
}
OBJECTIVE = {"class_path": "lit_implicit_imaging.objective.ImagingObjective"}


def model(gain):
    torch.manual_seed(0)
    network = ImagingPass(ImagingDRUNet(CHANNELS, residual=True))
    with torch.no_grad():
        for parameter in network.denoiser.parameters():
            parameter.mul_(gain)
    return ExplicitLightningModule(network, ImagingObjective()).eval()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Make a run directory as `fit` leaves it, of weights that nobody trained."""
    monkeypatch.chdir(tmp_path)
    root = write_bsds(tmp_path / "photographs", n_test=5)

    def make(name, gain=1.0, **data):
        arguments = {"root": str(root), "crop": 16, "kernel": "gaussian", "kernel_size": 5}
        section = {
            "class_path": "lit_implicit_imaging.data.ImagingDataModule",
            "init_args": {**arguments, "eval_batch_size": 2, **data},
        }
        init_args = {"network": NETWORK, "objective": OBJECTIVE}
        settings = {"class_path": "lit_implicit.ExplicitLightningModule", "init_args": init_args}
        config = yaml.safe_dump({"model": settings, "data": section})
        folder = tmp_path / name
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "config.yaml").write_text(config)
        content = {"state_dict": model(gain).state_dict(), CONFIG_KEY: config}
        torch.save(
            {"pytorch-lightning_version": "2.6.0", **content}, folder / "checkpoints/best.ckpt"
        )
        return section["init_args"]

    return make


def refusal(capsys, *arguments):
    """Return the one line of a comparison that is refused."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_each_number_is_that_of_its_photograph_and_run(run, tmp_path):
    settings = run("a")
    run("b", gain=3.0, batch_size=1, n_train=2, n_val=1, crop=24, eval_crop=16, crops="fixed")
    assert main(["one=a", "two=b", "--output=both", "--shown", "4", "0"]) == 0
    data = ImagingDataModule(**settings)
    data.setup("test")
    batch = data._samples["test"].__getitems__(range(5))
    with (tmp_path / "both/psnr.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["photograph"] for row in rows] == [f"{i:03d}.png" for i in range(5)]
    for title, gain in (("one", 1.0), ("two", 3.0)):
        with torch.no_grad():
            expected = psnr(model(gain)(batch.x), batch.target)
        found = torch.tensor([float(row[title]) for row in rows])
        assert (found - expected).abs().max() < 1e-3  # three decimals
    assert abs(float(rows[0]["one"]) - float(rows[0]["two"])) > 0.01
    assert Image.open(tmp_path / "both/gallery.png").size[0] > 600


def test_photographs_are_shown_in_the_order_given(run, monkeypatch):
    run("a", n_test=2)
    drawn = []

    def draw(images, batch, *, errors_of, rows):
        drawn.append((list(rows), batch.index.tolist(), batch.files))
        return original(images, batch, errors_of=errors_of, rows=rows)

    original = main.__globals__["draw_panels"]
    monkeypatch.setitem(main.__globals__, "draw_panels", draw)
    assert main(["a=a", "--shown", "1", "0"]) == 0
    assert main(["a=a"]) == 0
    assert [rows for rows, _, _ in drawn] == [[1, 0], [0, 1]]
    for _, index, files in drawn:
        assert index == [0, 1]
        assert [file[-7:] for file in files] == ["000.png", "001.png"]


def test_other_data_is_refused_by_name_unless_asked_for(run, capsys, tmp_path):
    run("a")
    run("b", kernel="delta", noise=0.1, num_workers=1)
    line = refusal(capsys, "a=a", "b=b", "--output=both")
    assert "The data of 'a', 'b' differ" in line
    assert "`data.kernel` gaussian, delta; `data.noise` 0.03, 0.1." in line
    assert "--any_data" in line
    assert "num_workers" not in line
    assert not (tmp_path / "both").exists()
    assert main(["a=a", "b=b", "--output=both", "--any_data"]) == 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "it has no config.yaml"),
        ("", "has no section `data`"),
        ("- 1", "has no section `data`"),
        ("model: {}", "has no section `data`"),
        ("data: [", "cannot be read"),
        ("data: null", "do not fit"),
        ("data: 3", "do not fit"),
        ("data: {class_path: lit_implicit_lp.data.LPDataModule}", "do not fit"),
        ("data: {class_path: nowhere.Data}", "do not fit"),
        (
            "data: {class_path: lit_implicit_imaging.data.ImagingDataModule, init_args: {old: 1}}",
            "do not fit",
        ),
        (
            "data: {class_path: lit_implicit_imaging.data.ImagingDataModule, init_args: {crop: 3}}",
            "multiple of 8",
        ),
    ],
)
def test_what_is_no_run_is_one_line(run, capsys, tmp_path, config, message):
    run("a")
    (tmp_path / "other").mkdir()
    if config is not None:
        (tmp_path / "other/config.yaml").write_text(config)
    line = refusal(capsys, "other=other", "a=a", "--any_data")
    assert message in line
    assert "'other'" in line


def test_runs_without_weights_and_wrong_options(run, capsys, tmp_path):
    run("a")
    assert "from 0 to 4, got [9]" in refusal(capsys, "a=a", "--shown", "9")
    assert "the title 'truth'" in refusal(capsys, "truth=a")
    (tmp_path / "file").write_text("")
    assert "'file' cannot be written" in refusal(capsys, "a=a", "--output=file")
    for wrong in (["a=a", "a=a"], ["a"]):
        with pytest.raises(SystemExit):
            main(wrong)
        assert ("given twice" if len(wrong) == 2 else "TITLE") in capsys.readouterr().err
    (tmp_path / "a/checkpoints/best.ckpt").unlink()
    assert "best.ckpt" in refusal(capsys, "a=a")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(run, capsys):
    run("a")
    assert "torch finds no CUDA device" in refusal(capsys, "a=a", "--device=cuda")
