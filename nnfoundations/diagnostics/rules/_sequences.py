"""Rules about language models: what they may see, what their targets are, and padding."""

from dataclasses import dataclass

from nnfoundations.diagnostics._family import Family
from nnfoundations.diagnostics._finding import Severity, Suspicion
from nnfoundations.diagnostics._history import History
from nnfoundations.diagnostics.rules._rule import Rule, constant_loss, smooth

__all__ = ["CausalLeak", "PaddingAttended", "PaddingInLoss", "SequencePaddingRead", "TargetsEqualInputs"]


def _last(history: History, *columns: str) -> list[float]:
    return [float(history["sequence"].column(name)[-1]) for name in columns]


@dataclass(frozen=True)
class CausalLeak(Rule):
    """The network predicts the next token, and its outputs depend on tokens that come later."""

    fault, family, needs = "causal-leak", Family.WIRING, ("sequence",)
    explains = ("overfitting",)
    exact = True
    next_token: float = 0.95  # share of the targets that are the input one step ahead; a judgement
    repeats: float = 0.9  # share that are the input of the same step, as in constant sequences
    leak: float = 1e-3  # move of earlier outputs over that of later ones; exactly 0 with a causal mask

    def judge(self, history: History) -> Suspicion | None:
        shifted, equal, ahead = _last(history, "shifted", "equal", "ahead")
        if not (shifted >= self.next_token and equal < self.repeats and ahead > self.leak):
            return None
        return self.suspect(
            int(history["sequence"].steps[-1]),
            (),
            f"{100 * shifted:.0f} % of the targets are the next token of the input. When only later tokens "
            f"change, an earlier output moves by {ahead:.2g} of the change of the later outputs (healthy: "
            "0).",
            "The network sees the token that it must predict, so the loss falls and nothing is learned.",
            "Use a causal mask that hides every later key from a query: is_causal=True, or a mask made with "
            "triu(diagonal=1) and added before the softmax over keys. Pad convolutions on the left only.",
            Severity.ERROR,
            shifted=shifted,
            ahead=ahead,
        )


@dataclass(frozen=True)
class TargetsEqualInputs(Rule):
    """The targets of a causal language model are its inputs, so each output only has to copy its token."""

    fault, family, needs = "targets-equal-inputs", Family.DATA, ("sequence",)
    explains = ("overfitting",)
    exact = True
    equal: float = 0.999  # share of the targets that are the input of the same step; 0.99 where few are wrong
    next_token: float = 0.9  # share that are the next input as well, as in constant sequences
    leak: float = 1e-3  # move of earlier outputs; an autoencoder sees all tokens
    own: float = 0.01  # move of the output of a changed token; 0 if the network shifts its inputs itself

    def judge(self, history: History) -> Suspicion | None:
        shifted, equal, ahead, own = _last(history, "shifted", "equal", "ahead", "own")
        copies = equal >= self.equal and shifted < self.next_token
        if not (copies and ahead <= self.leak and own > self.own):
            return None
        return self.suspect(
            int(history["sequence"].steps[-1]),
            (),
            f"{100 * equal:.0f} % of the targets are the input of the same step, and only "
            f"{100 * shifted:.0f} % that of the next step. The network is causal.",
            "The targets are not shifted, so each output only copies the token that it gets.",
            "Shift the targets by one: inputs tokens[:, :-1], targets tokens[:, 1:].",
            Severity.ERROR,
            equal=equal,
            shifted=shifted,
        )


@dataclass(frozen=True)
class PaddingInLoss(Rule):
    """Most of the targets that the loss counts are padding at the end of the sequences."""

    fault, family, needs = "padding-in-loss", Family.DATA, ("sequence",)
    explains = ("overfitting",)
    most: float = 0.4  # share of the targets that are padding; a judgement

    def judge(self, history: History) -> Suspicion | None:
        padding, value = _last(history, "padding", "value")
        if not padding > self.most:
            return None
        return self.suspect(
            int(history["sequence"].steps[-1]),
            (),
            f"{100 * padding:.0f} % of the targets in the loss are padding: target {value:.0f} at the end of "
            f"rows whose inputs repeat one value there (healthy: 0 %).",
            "The loss counts padding, which is easy to predict, so it says little about real tokens.",
            f"Leave padding out of the loss: CrossEntropyLoss(ignore_index={value:.0f}), or set padded "
            "targets to -100.",
            padding=padding,
        )


@dataclass(frozen=True)
class PaddingAttended(Rule):
    """Outputs depend on tokens that are padding, although a mask or an embedding says that they are."""

    fault, family, needs = "padding-attended", Family.WIRING, ("masking",)
    exact = True
    moved: float = 0.01  # move of the outputs over their spread; exactly 0 where padding is masked

    def judge(self, history: History) -> Suspicion | None:
        padding, moved, given = (
            float(history["masking"].column(n)[-1]) for n in ("padding", "moved", "given")
        )
        if not moved > self.moved:
            return None
        seen = history.events_of("padded-embedding")
        where = () if given or not seen else seen[-1].where
        known = "by the mask that the network gets" if given else f"by the padding_idx of {where[0]}"
        return self.suspect(
            int(history["masking"].steps[-1]),
            where,
            f"{100 * padding:.0f} % of the positions are padding {known}. When only these change, the "
            f"outputs move by {moved:.2g} of their spread over the samples (healthy: 0).",
            "The network reads padding as if it were data"
            + (": the mask is not used, or true and false are exchanged in it." if given else "."),
            "Give attention a mask of the padding (key_padding_mask or src_key_padding_mask, True where "
            "padding is), or set its scores to -inf there before the softmax. Leave padding out of means "
            "and maxima.",
            Severity.WARNING if given else Severity.INFO,
            padding=padding,
            moved=moved,
        )


@dataclass(frozen=True)
class SequencePaddingRead(Rule):
    """A recurrent network reads its answer behind the padding, where it has forgotten the sequence."""

    fault, family, needs = "sequence-padding-read", Family.DATA, ("reading", "constant_loss", "loss")
    explains = ("no-learning", "learning-rate-too-low", "stopped-too-early", "vanishing-gradients")
    most: float = 0.4  # share of the steps that are padding; a judgement

    level: float = 0.97  # loss over that of the best constant, known from some of the targets; digits: 0.93
    wait: int = 80  # losses needed; a net on digits that learns begins after 60

    def judge(self, history: History) -> Suspicion | None:
        padding, last = (float(history["reading"].column(name)[-1]) for name in ("padding", "last"))
        seen = history.events_of("padding-read")
        if not (padding >= self.most and last and seen) or not self._learns_nothing(history):
            return None
        layer = seen[-1].where[0]
        return self.suspect(
            int(history["reading"].steps[0]),
            seen[-1].where,
            f"{100 * padding:.0f} % of the steps that {layer} reads are one and the same input at the end of "
            "the sequences, only its state after the last step is used, and the loss is that of a constant "
            "prediction.",
            "The layer reads the padding after each sequence, and forgets what was before.",
            "Use the state at the last real step of each sequence, or pack the sequences with "
            "pack_padded_sequence, or pad on the left.",
            padding=padding,
        )

    def _learns_nothing(self, history: History) -> bool:
        losses = history["loss"].rows[:, 0]
        return len(losses) >= self.wait and smooth(losses, 20) > self.level * constant_loss(history)
