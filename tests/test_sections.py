"""What a report says of the machine, of a plan alone."""

import pytest
from test_owned import deployment

from deploy.report import sections
from deploy.report.sections import Plotted


@pytest.mark.parametrize(("gpu_count", "what"), [(2, "2x H100"), (0, "No GPU")])
def test_what_serves_is_told_with_how_it_is_split(gpu_count: int, what: str) -> None:
    plan = deployment().plan
    machine = plan.machine.model_copy(update={"gpu_count": gpu_count, "gpu": "H100"})
    parallel = plan.parallel.model_copy(update={"tensor": 4, "pipeline": 2, "data": 3})
    plan = plan.model_copy(
        update={
            "machine": machine,
            "parallel": parallel,
            "vllm_version": "0.33.0",
            "reason": "It fits.",
            "throughput": None,
        }
    )
    found = sections.machine(plan)
    assert (found.heading, found.paragraphs) == (
        "The machine",
        (f"{what}, vLLM 0.33.0, tensor 4, pipeline 2, data 3. It fits.",),
    )
    assert found.plots == (Plotted("throughput", ""), Plotted("memory"))
