"""What a spec is: texts. (What it refuses: test_broken_plugins.py.)"""

from lit_implicit import TaskSpec


def test_first_operator_is_the_default():
    spec = TaskSpec(
        summary="", data="a.Data", objective="a.b.Loss", operators={"x-1": "c.X", "y": "c.Y"},
        baselines={"net": "d.Net"},
    )  # fmt: skip
    assert spec.default_operator == "c.X"
    assert spec.class_paths() == {
        "data": "a.Data",
        "objective": "a.b.Loss",
        "operators.x-1": "c.X",
        "operators.y": "c.Y",
        "baselines.net": "d.Net",
    }
