"""Image deblurring: photographs from blurred, noisy observations, by plug-and-play equilibria."""

from lit_implicit.task import TaskSpec

task = TaskSpec(
    summary="Image deblurring: half-quadratic-splitting or gradient steps with a learned denoiser.",
    data="lit_implicit_imaging.data.ImagingDataModule",
    objective="lit_implicit_imaging.objective.ImagingObjective",
    operators={
        "hqs": "lit_implicit_imaging.hqs.ImagingHQS",
        "pgd": "lit_implicit_imaging.pgd.ImagingPGD",
    },
    baselines={
        "pass": "lit_implicit_imaging.baselines.ImagingPass",
        "unfolded": "lit_implicit_imaging.baselines.ImagingUnfolded",
    },
    install="pip install 'lit-implicit[imaging]'",
)
