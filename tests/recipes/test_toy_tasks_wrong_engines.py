"""The engines of wrong_engines.py are wrong in the way that their names tell."""

from dataclasses import replace

import torch

from recipes.toy_tasks.markov.chain import SYMBOLS
from recipes.toy_tasks.tiny_model import make_model, make_tokenizer
from recipes.toy_tasks.wrong_engines import ARMS, WrongEngine
from rlhf.models.load import load_policy
from rlhf.rollouts.engine import Sampling
from rlhf.rollouts.native import NativeEngine

SAMPLING = Sampling(
    max_new_tokens=2, temperature=1.0, eos_token_ids=(1,), pad_token_id=0, seed=0, iteration=0
)


def test_older_engine_samples_with_the_weights_of_two_iterations_before(tmp_path):
    """Weights of 0 to 4 in turn: the engine has 0 three times, then 1 and 2."""
    make_model(tmp_path, make_tokenizer(SYMBOLS), seed=0)
    policy, engine = load_policy(tmp_path), WrongEngine(ARMS["older"])
    found = []
    for value in range(5):
        with torch.no_grad():
            policy.model.norm.weight.fill_(value)
        engine.update_weights(policy)
        found.append(float(engine.policy.model.norm.weight[0]))
    assert found == [0, 0, 0, 1, 2]


def test_hot_engine_samples_at_another_temperature(monkeypatch):
    """The greedy responses that ReMax compares with stay greedy."""
    asked = []
    monkeypatch.setattr(NativeEngine, "generate", lambda self, batch, s: asked.append(s))
    for arm in ("right", "hot", "hot, corrected"):
        WrongEngine(ARMS[arm]).generate(None, SAMPLING)
        WrongEngine(ARMS[arm]).generate(None, replace(SAMPLING, temperature=0.0))
    assert [sampling.temperature for sampling in asked] == [1.0, 0, 1.1, 0, 1.1, 0]
