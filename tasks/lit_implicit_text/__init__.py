"""Text: looped transformers, whose answers sharpen as their core is iterated."""

from lit_implicit.task import TaskSpec

task = TaskSpec(
    summary="Text: looped transformers that say what a word means, the sharper the longer they iterate.",
    data="lit_implicit_text.data.TextDataModule",
    objective="lit_implicit_text.objective.TextObjective",
    operators={"looped": "lit_implicit_text.operator.LoopedTransformer"},
    baselines={"untied": "lit_implicit_text.untied.UntiedTransformer"},
    install="pip install 'lit-implicit[text]'",
)
