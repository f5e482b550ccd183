"""One figure of the arms that ran, one and an animation of the middle arm."""

from nnfoundations.labs._runner.figures import new_figure

__all__ = ["ANIMATIONS", "FIGURES", "accuracy", "middle"]


def accuracy(results):
    figure, axes = new_figure()
    for arm in results.arms:
        axes[0, 0].plot(results.values(arm, "accuracy"), label=arm)
    return figure


def middle(results):
    figure, axes = new_figure()
    axes[0, 0].plot(*results.curve("middle", 0, "accuracy"))
    return figure


def frames(results):
    for _ in results.seeds("middle")[:2]:
        yield middle(results)


FIGURES = {"accuracy": accuracy, "middle": middle}
ANIMATIONS = {"movie": frames}
