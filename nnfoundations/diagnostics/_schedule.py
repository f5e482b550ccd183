"""Decides when to measure, within the time budget."""

from dataclasses import dataclass, field
from time import perf_counter

__all__ = [
    "ACTIVATION_STEPS",
    "AGAIN",
    "DENSE",
    "DOUBT",
    "DOUBT_EVERY",
    "DOUBT_LATER",
    "END",
    "EVALUATION",
    "EVALUATION_GROWTH",
    "FREE_BELOW",
    "MEMORY",
    "REST",
    "SETTLE",
    "SPREAD",
    "SPREAD_SHARE",
    "STRIDE",
    "UNSEEN",
    "Account",
    "Schedule",
]

DENSE = 20
"""Number of first steps that all measure gradients, because a bad start shows there."""

ACTIVATION_STEPS = (0, 1, 5, 20, 45)
"""Steps at which activations are always measured. Later measurements wait for the budget."""

DOUBT: tuple[int, ...] = (32, *range(60, 141, 10))
"""Steps at which activations are measured beyond the budget while the loss does not fall. Units may have died
since the start, and such a run does not lose useful time."""

DOUBT_LATER = 100
"""Steps between measurements of activations after these, as long as the loss does not fall."""

DOUBT_EVERY = 64
"""Steps between two questions whether the loss falls."""

END = 16
"""Number of last steps in which activations are measured once more. A decision falls in every eighth step,
and five measurements prove that a unit is dead."""

EVALUATION, EVALUATION_GROWTH = 10, 8
"""Step of the first evaluation of the network on a batch, and the factor between the steps of later ones."""

SETTLE = 6
"""Largest number of measurements in a row that settle a suspicion."""

FREE_BELOW = 0.1e-3
"""Seconds per step that are allowed however short the step is, because any hook costs time."""

UNSEEN = 50e-6
"""Seconds per step that our clock does not see: calls into hooks, and colder caches for the training
(benchmarks/diagnostics_step.py: 22 to 53 us for steps of 2 ms, about 20 us for steps of 8 ms)."""

MEMORY = 500
"""Steps over which the cost of a step without a measurement is averaged. Some of them run the rules."""

REST = 50
"""Smallest number of steps between two closer inspections; doubled after each one beyond the budget."""

SPREAD = 24
"""Largest number of measurements that are spread over a run of known length even if the account is empty."""

SPREAD_SHARE = 0.5
"""The share of the time budget of the whole run that they may take."""

STRIDE = 8
"""Steps between two decisions whether to measure: a decision costs as much as the rest of a step."""

AGAIN = (9, 18, 27)
"""Steps after a closer inspection at which another one tells a short spike from a lasting rise."""


@dataclass
class Account:
    """The time budget of one kind of measurement: each training step adds to it, each measurement spends it.

    A measurement spends the seconds that it takes within `with` blocks of its account.
    """

    balance: float = 0.0
    price: float = 0.0  # seconds of a measurement, a running mean
    last: int = -1
    seconds: float = 0.0  # of the current measurement
    _start: float = 0.0

    def __enter__(self) -> "Account":
        self._start = perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += perf_counter() - self._start

    def pay(self, step: int) -> None:
        """Spend the seconds of the current measurement."""
        self.price = 0.7 * self.price + 0.3 * self.seconds if self.price else self.seconds
        self.balance -= self.seconds
        self.last = step


@dataclass
class Schedule:
    """Decide at each step whether to measure gradients and whether to measure activations.

    Measurements are dense in the first steps, where a bad start shows. Later they are as frequent as the
    budget allows, with one half of it for each kind. The dense start is paid back before the next one.
    """

    budget: float = 0.01
    gradients: Account = field(default_factory=Account)
    activations: Account = field(default_factory=Account)
    evaluations: Account = field(default_factory=Account)
    spent: float = 0.0
    trained: float = 0.0
    steps: int = 0
    own: float = 0.0  # seconds that diagnostics took since the last settlement
    _unpaid: int = 0  # steps since then
    _settled: float | None = None  # its time; None if the time since then is not training
    _wanted: int = 0
    _jumped: bool = False  # the loss or the rate did, and activations were not measured since
    _again: int = 0  # length of the current chain of measurements of activations
    _inspected: int = -REST
    _rest: int = REST
    _always: float = 0.0  # seconds that each step costs without measurements, a running mean

    def wants_gradients(self, step: int, total: float | None = None) -> bool:
        """Decide for gradients.

        Args:
            step: the current step.
            total: the number of steps of the run, if it is known.
        """
        if self._wanted or self.steps <= DENSE or self.steps - self._inspected in AGAIN:
            return True
        account = self.gradients
        since = step - account.last
        if account.balance >= account.price:
            return since >= min(max(STRIDE, self.steps // 50), 50)
        return total is not None and self._due(step, since, total)

    def _due(self, step: int, since: int, total: float) -> bool:
        """Decide whether a run of known length measures although the account is empty.

        A short run ends before the dense start is paid back. The budget of the whole run is known, so a part
        of it is kept for measurements until the end.
        """
        allowed = SPREAD_SHARE * max(FREE_BELOW * total, self.budget * self.trained * total / self.steps)
        number = min(allowed / self.gradients.price, SPREAD) if self.gradients.price else 0.0
        at_the_end = step >= total - STRIDE - 1 and since >= max(total / SPREAD, STRIDE)
        return number >= 1 and (at_the_end or since >= total / number)

    def wants_activations(
        self, step: int, total: float | None = None, *, still: bool = False, unsettled: bool = False
    ) -> bool:
        """Decide for activations.

        Args:
            step: the current step.
            total: the number of steps of the run, if it is known.
            still: whether the loss does not fall.
            unsettled: whether the next measurements can settle what the last one suspects.
        """
        if self.steps in ACTIVATION_STEPS or self._jumped or (still and self.doubts(step)):
            return True
        account = self.activations
        since = step - account.last
        if unsettled and self.settles(step):
            return True
        if total is not None and self._ends(step, since, total, account.price):
            return True
        return (
            account.balance >= account.price
            and self.steps > ACTIVATION_STEPS[-1]
            and since >= min(max(25, self.steps // 8), 200)
        )

    def wants_evaluation(self, step: int, total: float | None = None) -> bool:
        """Decide for an evaluation: early, later at ever larger distances, and shortly before the end.

        The later ones wait until the other measurements leave enough of the budget.

        Args:
            step: the current step.
            total: the number of steps of the run, if it is known.
        """
        if self.steps <= EVALUATION:
            return self.steps == EVALUATION
        account = self.evaluations
        since = step - account.last
        if total is not None and self._ends(step, since, total, account.price):
            return True
        later = self.steps >= EVALUATION_GROWTH * max(self.steps - since, EVALUATION)
        return later and self.gradients.balance + self.activations.balance >= account.price

    def doubts(self, step: int) -> bool:
        """Return whether activations are measured at this step if the loss does not fall."""
        late = self.steps > DOUBT[-1] and step - self.activations.last >= DOUBT_LATER
        late = late and self.steps % DOUBT_EVERY < STRIDE  # the question costs as much as some steps
        return self.steps in DOUBT or late

    def settles(self, step: int) -> bool:
        """Return whether a measurement now would belong to a chain that may go on."""
        return step - self.activations.last <= STRIDE and self._again < SETTLE

    def _ends(self, step: int, since: int, total: float, price: float) -> bool:
        """Return whether a measurement shortly before the end of the run is due, and affordable."""
        if not END > total - step > 0 or since <= END or self.steps <= ACTIVATION_STEPS[-1]:
            return False
        allowed = max(FREE_BELOW * total, self.budget * self.trained * total / self.steps)
        return price <= SPREAD_SHARE * allowed

    def quiet(self) -> int:
        """Return the number of coming steps without measurements that need no decision."""
        if self.steps <= DOUBT[-1]:
            return 0
        since = self.steps - self._inspected
        return min([again - since for again in AGAIN if again > since] + [STRIDE]) - 1

    def inspect(self, steps: int = 3) -> None:
        """Measure the next steps because something jumped, beyond the budget if necessary.

        This does not repeat for a while, and beyond the budget more and more rarely, because the small loss
        of a trained network jumps from batch to batch.
        """
        affordable = self.gradients.balance >= 0
        if self.steps - self._inspected >= (REST if affordable else self._rest):
            self._inspected = self.steps
            self._rest *= 1 if affordable else 2
            self._wanted = max(self._wanted, steps)
            self._jumped = True

    def measured(self, step: int) -> None:
        """Spend the budget for the measurements of this step."""
        if self.gradients.seconds:
            self._wanted = max(0, self._wanted - 1)
            self.gradients.pay(step)
        if self.activations.seconds:
            # A chain of measurements, each soon after the last one, settles a suspicion or ends.
            self._again = self._again + 1 if step - self.activations.last <= STRIDE else 0
            self._jumped = False
            self.activations.pay(step)
        if self.evaluations.seconds:  # it has no income of its own
            self.evaluations.pay(step)
            self.gradients.balance -= 0.5 * self.evaluations.seconds
            self.activations.balance -= 0.5 * self.evaluations.seconds

    def stepped(self) -> None:
        """Count a step."""
        self.steps += 1
        self._unpaid += 1

    def resume(self) -> None:
        """Begin a step. The first one does not count as training, because the setup happens in it."""
        if self._settled is None and self.steps:
            self._settled = perf_counter()

    def pause(self) -> None:
        """Do not count the time until the next step as training."""
        self.settle()
        self._settled = None

    def settle(self) -> None:
        """Add up the time and the cost of the last steps: at each measurement, or else every few steps."""
        now = perf_counter()
        if self._settled is not None and self._unpaid:
            self._earn(self._unpaid, now - self._settled)
        self._settled, self._unpaid, self.own = now, 0, 0.0
        self.gradients.seconds = self.activations.seconds = self.evaluations.seconds = 0.0

    def _earn(self, steps: int, seconds: float) -> None:
        self.spent += self.own
        training = max(seconds - self.own, 0.0)
        self.trained += training
        # The cost of the hooks at every step is subtracted first. A measurement is charged when it is made.
        measured = self.gradients.seconds + self.activations.seconds + self.evaluations.seconds
        always = max(self.own - measured, 0.0) / steps
        self._always += (always - self._always) * steps / min(self.steps, MEMORY)
        earned = max(FREE_BELOW * steps, self.budget * training)
        # Only up to 85 %: on a slow machine the hooks alone may cost that much, and nothing would be left.
        earned -= min((self._always + UNSEEN) * steps, 0.85 * earned)
        for account in (self.gradients, self.activations):
            account.balance += 0.5 * earned
