"""docs/compile.md: its settings are those of the code, its links work, its commands parse."""

import dataclasses
import json

import yaml
from fenced import Document

from lit_implicit import Compile

DOCUMENT = Document("compile.md")


def test_the_table_has_all_settings_with_their_defaults():
    for field in dataclasses.fields(Compile):
        default = DOCUMENT.row(f"`{field.name}`")[1].strip("`")
        assert default == (
            field.default if isinstance(field.default, str) else json.dumps(field.default)
        )


def test_the_switch_is_one_that_the_code_knows():
    (block,) = DOCUMENT.blocks("yaml")
    assert Compile.of(yaml.safe_load(block)["model"]["init_args"]["compile"]) == Compile()


def test_links_work():
    assert DOCUMENT.broken_links() == []
