"""A sampler for several workers: each trial is drawn with a seed of its own."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, TrialState

__all__ = ["SAMPLERS", "trial_sampler"]

SAMPLERS = ("tpe", "random", "gp")


def trial_sampler(name: str) -> "BaseSampler":
    """Make a sampler that takes the number of each trial as its seed.

    A sampler with one seed draws the same values in each worker, and again after a resume. The number of a
    trial is unique in its study, whichever process or machine runs it.

    Args:
        name: one of `SAMPLERS`.
    """
    from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

    kind: Any = {"tpe": TPESampler, "random": RandomSampler, "gp": GPSampler}[name]

    class SeededByTrial(BaseSampler):
        sampler: BaseSampler = kind(seed=0)

        def before_trial(self, study: "Study", trial: "FrozenTrial") -> None:
            self.sampler = kind(seed=trial.number)
            self.sampler.before_trial(study, trial)

        def infer_relative_search_space(
            self, study: "Study", trial: "FrozenTrial"
        ) -> dict[str, "BaseDistribution"]:
            return self.sampler.infer_relative_search_space(study, trial)

        def sample_relative(
            self, study: "Study", trial: "FrozenTrial", search_space: dict[str, "BaseDistribution"]
        ) -> dict[str, Any]:
            return self.sampler.sample_relative(study, trial, search_space)

        def sample_independent(
            self, study: "Study", trial: "FrozenTrial", param_name: str, distribution: "BaseDistribution"
        ) -> Any:
            return self.sampler.sample_independent(study, trial, param_name, distribution)

        def after_trial(self, study: "Study", trial: "FrozenTrial", state: "TrialState", values: Any) -> None:
            self.sampler.after_trial(study, trial, state, values)

    return SeededByTrial()
