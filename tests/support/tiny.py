"""The home scenario in a second or two: real training, too little of it to learn anything."""

TINY = [
    "fleet.devices=30",
    "federation.cohort=6",
    "federation.rounds=2",
    "data.train_per_device=6",
    "data.test_per_device=2",
    "training.max_steps=1",
    "adapter.rank=1",
    "evaluation.devices=0",
    "evaluation.compare=[]",
    "runtime.engine=inline",
]
