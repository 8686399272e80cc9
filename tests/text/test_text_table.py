"""Answers by iterations as Markdown."""

import json
import re

import pytest

from lit_implicit_text.table import main, markdown

ROWS = [
    {"t": 1, "say a": "x", "say b": "x"},
    {"t": 2, "say a": "y", "say b": "x"},
    {"t": 4, "say a": "y", "say b": "x"},
    {"t": 8, "say a": "x", "say b": "x"},
]


def test_a_row_stands_for_all_t_with_the_same_answers(tmp_path, capsys):
    file = tmp_path / "curve.json"
    file.write_text(json.dumps({"settings": {"answers": ROWS}}), encoding="utf-8")
    assert main([str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| t | say a | say b |",
        "| --- | --- | --- |",
        "| 1 | x | x |",
        "| 2, 4 | y | x |",
        "| 8 | x | x |",
    ]


def test_text_that_means_something_in_markdown_stands_as_it_is():
    (*_, line) = markdown([{"t": 1, "p": "a | b\n*c* <d>"}]).splitlines()
    assert line == r"| 1 | a \| b \*c\* \<d> |"


@pytest.mark.parametrize("content", [
    "{}", "no JSON", '{"settings": {"answers": []}}', '{"settings": {"answers": "yes"}}',
    '{"settings": {"answers": [1]}}', '{"settings": {"answers": [{"a": "x"}]}}',
    '{"settings": {"answers": [{"t": 1, "a": "x"}, {"t": 2, "b": "x"}]}}', None,
])  # fmt: skip
def test_a_file_without_answers_is_refused_by_name(tmp_path, capsys, content):
    file = tmp_path / "curve.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    assert main([str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"curve.json' (holds no answers|cannot be read)", line)
