"""The precision that `auto` takes is the faster one of a step, and timing it leaves nothing behind."""

import time

import pytest
import torch

from headwise.models.precision import Precision, autocast, chosen, measure


@pytest.mark.parametrize(("faster", "slower"), [("fp32", "bf16"), ("bf16", "fp32")])
def test_the_faster_precision_is_chosen_and_the_log_line_says_why(faster: Precision, slower: Precision) -> None:
    choice = measure(lambda precision: time.sleep(0.03 if precision == slower else 0.001), repeats=1)
    assert choice.precision == faster
    assert choice.seconds[faster] < choice.seconds[slower]
    assert str(choice).startswith(f"precision={faster}: a step takes fp32 ")


def test_a_tie_goes_to_fp32() -> None:
    assert chosen({"fp32": 1.0, "bf16": 0.95}).precision == "fp32"
    assert chosen({"fp32": 1.0, "bf16": 0.85}).precision == "bf16"


def test_measuring_moves_neither_random_numbers_nor_weights() -> None:
    layer = torch.nn.Linear(8, 8)
    before = [parameter.clone() for parameter in layer.parameters()]
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    kinds = []

    def step(precision: Precision) -> None:
        with autocast("cpu", precision):
            out = layer(torch.nn.functional.dropout(torch.randn(16, 8)))
        kinds.append(out.dtype)
        out.float().square().mean().backward()

    measure(step)
    assert torch.equal(torch.rand(4), expected)
    assert all(map(torch.equal, layer.parameters(), before))
    assert kinds == [torch.float32, torch.bfloat16] * 4  # one round to warm up, three timed, in turns


def test_slow_steps_are_timed_once() -> None:
    calls: list[str] = []
    measure(calls.append, repeats=5, most=0.0)
    assert calls == ["fp32", "bf16"] * 2
