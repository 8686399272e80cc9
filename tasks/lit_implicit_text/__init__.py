"""Text: looped transformers, whose answers sharpen as their core is iterated."""

from lit_implicit.task import TaskSpec

task = TaskSpec(
    summary="Text: looped transformers, whose answers sharpen as they iterate; huginn-0125, too.",
    data="lit_implicit_text.data.TextDataModule",
    objective="lit_implicit_text.objective.TextObjective",
    operators={"looped": "lit_implicit_text.operator.LoopedTransformer"},
    baselines={"untied": "lit_implicit_text.untied.UntiedTransformer"},
    install="pip install 'lit-implicit[text]'",
)
