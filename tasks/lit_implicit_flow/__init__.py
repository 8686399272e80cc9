"""Steady Navier-Stokes: from the force on a fluid to its vorticity, on the periodic square."""

from lit_implicit.task import TaskSpec

task = TaskSpec(
    summary="Steady 2-D Navier-Stokes: from force to vorticity by Fourier neural operators.",
    data="lit_implicit_flow.data.FlowDataModule",
    objective="lit_implicit_flow.objective.FlowObjective",
    operators={
        "fno": "lit_implicit_flow.fno.FlowFNO",
        "oseen": "lit_implicit_flow.oseen.FlowOseen",
    },
    baselines={
        "fno": "lit_implicit_flow.baselines.FlowFNOPass",
        "fno_plus": "lit_implicit_flow.baselines.FlowFNOPlus",
    },
    install="pip install 'lit-implicit[flow]'",
)
