"""Trains on the queries of a JOB, without Kedro; prints accuracy on a tenth that is held out.

kedro run --pipelines rft --params dataset=...,launch.preset=multi_node,launch.processes=2   # JOB
python examples/train_your_data.py JOB [STEPS]
"""

import sys

from rerec_pipeline.models.backbone import Backbone, load_backbone
from rerec_pipeline.training import (
    ReRecConfig,
    ReRecTrainer,
    evaluate,
    examples_to_dataset,
    load_job,
)

if __name__ == "__main__":
    job, steps = load_job(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20
    held_out, train = job.examples[::10], [e for n, e in enumerate(job.examples) if n % 10]
    args = ReRecConfig(
        "data/06_models/.your_data",
        max_steps=steps,
        per_device_train_batch_size=32,
        max_completion_length=80,
        bf16=False,
    )
    data = examples_to_dataset(train)
    trainer = ReRecTrainer(job.name_or_path, args, data, task=job.task, reward=job.reward)
    before = evaluate(load_backbone(job.name_or_path), held_out, job.task, max_new_tokens=80)
    trainer.train()
    policy = Backbone(trainer.model, trainer.processing_class)
    after = evaluate(policy, held_out, job.task, max_new_tokens=80)
    print(f"{before.correct.mean():.3f} -> {after.correct.mean():.3f}")
