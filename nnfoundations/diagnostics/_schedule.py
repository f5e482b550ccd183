"""When to look, so that looking costs what was agreed."""

from dataclasses import dataclass, field
from time import perf_counter

DENSE = 20
"""Steps at the start in which gradients are measured at every one: bad starts show there."""

ACTIVATION_STEPS = (0, 1, 5, 20, 45)
"""Steps at which activations are measured whatever it costs; later ones wait for the budget."""

DOUBT: tuple[int, ...] = (32, *range(60, 141, 10))
"""Steps at which, while the loss stands still, activations are measured on credit: units may have died since
the dense start, and such a run has no use for its time."""

FREE_BELOW = 0.1e-3
"""Seconds a step that are allowed however short the step is: hooks of any kind cost some."""

UNSEEN = 50e-6
"""Seconds that a step costs beside what its own clock sees: calls into hooks, and caches that the training
finds colder (benchmarks/diagnostics_step.py, several runs: 40 to 70 us with steps of 2 ms, 0 to 30 of 8)."""

MEMORY = 500
"""Steps over which the cost of a step without a look is averaged: now and then one of them is judged."""

REST = 50
"""Steps between two closer looks at least; twice as many after each that was taken on credit."""

STRIDE = 8
"""Steps between two questions whether to look: to ask costs as much as all else that is done at a step."""

AGAIN = (9, 18, 27)
"""Steps after a closer look at which it is seen whether that was the end or a spike."""


@dataclass
class Account:
    """Time that one kind of look may spend: what steps earn, less what looks cost.

    A look spends the seconds that it takes within `with` blocks of its account.
    """

    balance: float = 0.0
    price: float = 0.0  # of a look, the mean of the last ones
    last: int = -1
    seconds: float = 0.0  # of the look that is under way
    _start: float = 0.0

    def __enter__(self) -> "Account":
        self._start = perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += perf_counter() - self._start

    def pay(self, step: int) -> None:
        self.price = 0.7 * self.price + 0.3 * self.seconds if self.price else self.seconds
        self.balance -= self.seconds
        self.last = step


@dataclass
class Schedule:
    """Decide at each step whether gradients, and whether activations, are looked at.

    Dense where bad starts show, then as often as a share `budget` of the running time allows, half of it for
    each kind. The dense start is paid back before the next look.

    Args: budget: share of the step's time, 0.01 for one in a hundred.
    """

    budget: float = 0.01
    gradients: Account = field(default_factory=Account)
    activations: Account = field(default_factory=Account)
    spent: float = 0.0
    trained: float = 0.0
    steps: int = 0
    own: float = 0.0  # seconds that we took since the last settlement
    _unpaid: int = 0  # steps since then
    _settled: float | None = None  # its time; None where what has passed since is no step's
    _pair: bool = False
    _wanted: int = 0
    _closer: int = -REST
    _rest: int = REST
    _always: float = 0.0  # seconds that each step costs without looks, smoothed

    def wants_gradients(self, step: int) -> bool:
        """Also for the step after each look: the angle between two gradients needs both."""
        if self._wanted or self.steps <= DENSE or self.steps - self._closer in AGAIN:
            return True
        if self._pair:
            return True
        account = self.gradients
        return account.balance >= account.price and step - account.last >= min(
            max(STRIDE, self.steps // 50), 50
        )

    def wants_activations(self, step: int, still: bool = False) -> bool:
        """Args: still: the loss has not moved."""
        if self.steps in ACTIVATION_STEPS or (still and self.steps in DOUBT):
            return True
        account = self.activations
        return (
            account.balance >= account.price
            and self.steps > ACTIVATION_STEPS[-1]
            and step - account.last >= min(max(25, self.steps // 8), 200)
        )

    def quiet(self) -> int:
        """How many steps after this one, at which nothing is looked at, need not be asked about."""
        if self.steps <= DOUBT[-1]:
            return 0
        since = self.steps - self._closer
        return min([again - since for again in AGAIN if again > since] + [STRIDE]) - 1

    def look_closer(self, steps: int = 3) -> None:
        """Something jumped: look at the next steps, on credit if need be.

        Not again for a while, and on credit ever more rarely: the small loss of a trained network jumps from
        batch to batch.
        """
        solvent = self.gradients.balance >= 0
        if self.steps - self._closer >= (REST if solvent else self._rest):
            self._closer = self.steps
            self._rest *= 1 if solvent else 2
            self._wanted = max(self._wanted, steps)

    def looked(self, step: int) -> None:
        """Pay for the looks of this step."""
        if self.gradients.seconds:
            self._pair = not self._pair and self.steps > DENSE
            self._wanted = max(0, self._wanted - 1)
            self.gradients.pay(step)
        if self.activations.seconds:
            self.activations.pay(step)

    def stepped(self) -> None:
        self.steps += 1
        self._unpaid += 1

    def resume(self) -> None:
        """A step begins. The first of all is not counted: what is set up in it comes once."""
        if self._settled is None and self.steps:
            self._settled = perf_counter()

    def pause(self) -> None:
        """The time until the next step is no step's."""
        self.settle()
        self._settled = None

    def settle(self) -> None:
        """Book what the last steps took and cost: at each look, else every few steps."""
        now = perf_counter()
        if self._settled is not None and self._unpaid:
            self._earn(self._unpaid, now - self._settled)
        self._settled, self._unpaid, self.own = now, 0, 0.0
        self.gradients.seconds = self.activations.seconds = 0.0

    def _earn(self, steps: int, seconds: float) -> None:
        self.spent += self.own
        training = max(seconds - self.own, 0.0)
        self.trained += training
        # What the hooks take on every step is paid first; looks pay for themselves.
        looks = self.gradients.seconds + self.activations.seconds
        always = max(self.own - looks, 0.0) / steps
        self._always += (always - self._always) * steps / min(self.steps, MEMORY)
        earned = max(FREE_BELOW * steps, self.budget * training)
        # Not all of it: on a slow machine the hooks alone cost as much, and looks would end for ever.
        earned -= min((self._always + UNSEEN) * steps, 0.85 * earned)
        for account in (self.gradients, self.activations):
            account.balance += 0.5 * earned
