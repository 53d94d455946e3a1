"""Optimizer steps that are compiled, or captured as a CUDA graph, use the scheduled rate."""

import pytest
import torch
from optim_helpers import tick

from ssr_hydra.optim import compile_composer_scheduler
from ssr_hydra.schedulers import LinearScheduler
from ssr_hydra.state import State


def moved(optimizer, make_step):
    """Return how far each of four scheduled steps moves the only weight, whose gradient is 1."""
    state = State("4ba", optimizers=optimizer)
    scheduler = compile_composer_scheduler(LinearScheduler(), state)
    step = make_step()
    (weight,) = optimizer.param_groups[0]["params"]
    steps = []
    for _ in range(4):
        before = weight.item()
        step()
        steps.append(before - weight.item())
        tick(state, scheduler)
    return steps


def test_a_compiled_optimizer_step_uses_the_new_rate():
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.ones(1)
    optimizer = torch.optim.SGD([weight], lr=torch.tensor(1.0))
    graphs = 0

    def backend(graph, inputs):
        nonlocal graphs
        graphs += 1
        return graph.forward

    @torch.compile(backend=backend)
    def step():
        optimizer.step()

    assert moved(optimizer, lambda: step) == [1.0, 0.75, 0.5, 0.25]
    assert graphs <= 2  # the first step may need its own graph; if rates were numbers, each would need one


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_captured_cuda_graph_uses_the_new_rate():
    weight = torch.nn.Parameter(torch.zeros(1, device="cuda"))
    weight.grad = torch.ones(1, device="cuda")
    optimizer = torch.optim.SGD([weight], lr=torch.tensor(1.0, device="cuda"))

    def capture():
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            optimizer.step()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            optimizer.step()
        return graph.replay

    assert moved(optimizer, capture) == [1.0, 0.75, 0.5, 0.25]
