"""Classes of the wrong kind: `tasks --check` and `fit` say the same, in one line."""

import pytest
from fake_plugins import spec_source

from lit_implicit.cli import main

ABSTRACT = """
from affine_task import AffineData, AffineObjective, AffineOperator
from lit_implicit import AbstractObjective, AbstractOperator

class HalfOperator(AbstractOperator):
    def init_state(self, c, generator=None): ...

class HalfObjective(AbstractObjective):
    def inputs(self, batch): ...
"""

WRONG = [
    (
        "data",
        "affine_task.AffineOperator",
        "derive from LightningDataModule of `lightning.pytorch`",
    ),
    ("objective", "affine_task.AffineData", "must derive from AbstractObjective of `lit_implicit`"),
    (
        "operator",
        "affine_task.AffineNetwork",
        "`lit_implicit`; it derives from Module.",
    ),
    ("operator", "affine_task.AffineOperater", "Did you mean 'AffineOperator'?"),
    ("operator", "affine_task.DIM", "must be a class, got int"),
    ("operator", "half_pkg.HalfOperator", "is abstract. Define in it: forward."),
    ("objective", "half_pkg.HalfObjective", "is abstract. Define in it: distance, error, "),
    ("objective", "half_pkg.sub.Nothing", "'half_pkg' is not a package"),
]


@pytest.mark.parametrize(("field", "path", "sentence"), WRONG)
def test_wrong_kind_of_class_is_one_line(
    install, capsys, tmp_path, monkeypatch, field, path, sentence
):
    monkeypatch.chdir(tmp_path)
    install("unused", "half-pkg", source=ABSTRACT)
    install("zebra", "zebra-pkg", source=spec_source("zebra", "zebra_pkg", **{field: path}))
    assert main(["tasks", "--check", "zebra"]) == 2
    (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("zebra "))
    assert main(["fit", "--task", "zebra"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert line.endswith(error.removeprefix("error: "))
    for part in (sentence, f"`{field.replace('operator', 'operators.first')}` of task 'zebra'"):
        assert part in error
    assert "(from zebra-pkg 1.2)" in error
    assert not (tmp_path / "runs").exists()


COLLIDING = """
import affine_task
from affine_task import AffineData, AffineObjective
import lit_implicit

class Picard(lit_implicit.Picard): ...
class ScalarMLP(affine_task.AffineOperator): ...
"""
RUN = """
import sys
from lit_implicit.cli import main
short = ["--trainer.fast_dev_run=true", "--trainer.accelerator=cpu"]
short += ["--trainer.enable_progress_bar=false", "--trainer.logger=false"]
run = ["fit", "--task=zebra", *short]
own = [*run, "--model.operator=ScalarMLP"]
print([main(run), main(own), main([*run, "--model.solver=Picard"])])
"""


@pytest.mark.slow
def test_short_names_that_collide_are_told(install, process):
    """In a process of its own, where no other class would ever go by these names.

    Defaults are full paths and go on. A class of another task is not imported, so its name is free.
    """
    install("unused", "zoo-pkg", source=COLLIDING)
    paths = {"data": "AffineData", "objective": "AffineObjective", "operator": "ScalarMLP"}
    paths = {key: f"zoo_pkg.{kind}" for key, kind in paths.items()}
    install("zebra", "zebra-pkg", source=spec_source("zebra", "zebra_pkg", **paths))
    done = process(RUN)
    assert done.stdout.splitlines()[-1:] == ["[0, 0, 2]"], done.stderr
    (line,) = (x for x in done.stderr.splitlines() if x.startswith("error: "))
    assert "Multiple subclasses with name Picard" in line
    assert "lit_implicit.Picard, zoo_pkg.Picard" in line
