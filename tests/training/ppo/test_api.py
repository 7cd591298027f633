"""`rlhf.PPOTrainer` as a library user calls it, against the recipe and plain transformers."""

import json
import signal
import threading
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import rlhf
from tests.errors import raises
from tests.training.ppo.tiny_ppo import make_folder

PROMPTS = [f"Where is the {'red ' * (i % 4)}ball {i}?" for i in range(8)]
KEYS = {
    "max_steps": 2,
    "rollout_batch_size": 8,
    "num_minibatches": 2,
    "max_completion_length": 6,
    "learning_rate": 1e-3,
    "save_steps": 1,
    "num_eval_prompts": 4,
}


def vowels(prompts, completions):
    """The reward of tests/training/ppo/tiny_ppo.py, given as a function."""
    return [sum(c in "aeiou" for c in text) / 4 for text in completions]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("api"))


def make(folder, **changes):
    options = {"prompts": PROMPTS, "reward": vowels, "config": rlhf.PPOConfig(**KEYS)}
    backbone = rlhf.BackboneConfig(model_name_or_path=str(folder / "policy"), bf16=False)
    return rlhf.PPOTrainer(backbone, **{**options, **changes})


def without_clock(lines):
    clock = ("time", "seconds", "per_second", "memory", "score/")
    return [
        {name: value for name, value in line.items() if not any(part in name for part in clock)}
        for line in lines
    ]


def test_every_kind_of_rows_and_reward_gives_the_same_run(folder, tmp_path):
    """Strings and a function, or a file and `file.py:function`: the same metrics to the digit."""
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": prompt} for prompt in PROMPTS]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs = [
        make(folder),
        make(folder, prompts=rows, reward=[vowels]),
        make(folder, prompts=file, reward=f"{folder}/reward.py:vowels"),
    ]
    for run in runs:
        run.train()
    first, *others = (without_clock(run.metrics) for run in runs)
    assert [line["step"] for line in first] == [1, 2]
    assert all(lines == first for lines in others)


def test_saved_policy_is_the_trained_one_in_plain_transformers(folder, tmp_path):
    trainer = make(folder)
    trainer.train()
    target = trainer.save(tmp_path / "saved")
    tokenizer = AutoTokenizer.from_pretrained(target)
    ids = tokenizer(PROMPTS[0], return_tensors="pt").input_ids
    plain = AutoModelForCausalLM.from_pretrained(target)
    with torch.no_grad():
        expected = trainer.models.policy(ids).logits
        torch.testing.assert_close(plain(ids).logits, expected, atol=1e-5, rtol=0)
    manifest = json.loads((target / "manifest.json").read_text())
    assert [use["path"] for use in manifest["data"]] == ["rows"]


def test_generate_at_temperature_0_is_greedy_decoding(folder):
    trainer = make(folder)
    chat, policy = trainer.setup.chat, trainer.models.policy
    [text] = trainer.generate([PROMPTS[0]], temperature=0, max_new_tokens=5)
    message = [{"role": "user", "content": PROMPTS[0]}]
    ids = chat.tokenizer.apply_chat_template(
        message, add_generation_prompt=True, return_tensors="pt", return_dict=True
    ).input_ids
    greedy = policy.generate(
        ids, max_new_tokens=5, do_sample=False, eos_token_id=list(chat.eos_token_ids)
    )[0, ids.shape[1] :]
    assert text == chat.tokenizer.decode(greedy, skip_special_tokens=True)


def test_output_dir_is_a_run_folder_that_resumes(folder, tmp_path):
    """Two steps at once, or one, then one more from the checkpoint: the same last line."""
    make(folder, output_dir=tmp_path / "whole").train()
    half = rlhf.PPOConfig(**{**KEYS, "max_steps": 1, "lr_scheduler_type": "constant"})
    full = rlhf.PPOConfig(**{**KEYS, "lr_scheduler_type": "constant"})
    whole = make(folder, config=full)
    whole.train()
    make(folder, config=half, output_dir=tmp_path / "run").train()
    with raises("run-exists", tmp_path / "run"):
        make(folder, config=full, output_dir=tmp_path / "run")
    resumed = make(
        folder, config=full, output_dir=tmp_path / "run", resume_from_checkpoint="latest"
    )
    resumed.train()
    assert without_clock(resumed.metrics) == without_clock(whole.metrics)
    assert (tmp_path / "whole" / "config.yaml").is_file()


def test_held_out_prompts_and_pretraining_texts_come_from_memory(folder):
    config = rlhf.PPOConfig(**KEYS, eval_steps=1, ptx_coef=0.1)
    texts = [{"text": "Where is the red ball?"}, {"text": "A cat, a dog and a bird."}]
    trainer = make(folder, config=config, eval_prompts=PROMPTS[:2], ptx_data=texts)
    trainer.train()
    assert [line["step"] for line in trainer.metrics] == [0, 1, 2]
    assert all("eval_score" in line for line in trainer.metrics)
    assert trainer.metrics[-1]["ptx_loss"] > 0


def test_arguments_that_cannot_be_used_raise(folder):
    with raises("bad-reward", "3"):
        make(folder, reward=3)
    with raises("key-conflict", "ptx_data", "ptx_coef"):
        make(folder, ptx_data=[{"text": "Some text."}])
    with raises("bad-reward", "<lambda>", "colour", "prompts, completions, thoughts, shape"):
        rows = [{"prompt": prompt, "shape": "round"} for prompt in PROMPTS]
        make(folder, reward=lambda prompts, completions, colour: [0.0], prompts=rows)
    with raises("bad-reward", "<lambda>", "no parameter prompts"):
        make(folder, reward=lambda completions: [0.0])
    with raises("not-trained", "train"):
        make(folder).save("nowhere")
    with raises("missing-key", "prompts"):
        make(folder, prompts=None)
    with raises("key-conflict", "use_peft", "lora"):
        adapters = rlhf.ModelConfig(model_name_or_path=str(folder / "policy"), use_peft=True)
        rlhf.PPOTrainer(adapters, PROMPTS, vowels, config=rlhf.PPOConfig(**KEYS))


@pytest.mark.parametrize(
    ("prompts", "options"),
    [
        ("Where is it?", {}),
        (PROMPTS[:1], {"temperature": -1}),
        (PROMPTS[:1], {"max_new_tokens": 0}),
    ],
)
def test_generate_rejects_a_bare_string_and_senseless_sampling(folder, prompts, options):
    with raises("bad-value"):
        make(folder).generate(prompts, **options)


def test_train_restores_the_sigterm_handler(folder):
    before = signal.getsignal(signal.SIGTERM)
    make(folder).train()
    assert signal.getsignal(signal.SIGTERM) is before


def test_train_runs_outside_the_main_thread(folder):
    trainer = make(folder)
    thread = threading.Thread(target=trainer.train)
    thread.start()
    thread.join()
    assert trainer.metrics[-1]["step"] == 2


def test_lists_of_messages_are_prompts(folder):
    """The same metrics as of strings, which are messages of the user."""
    chats = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]

    def conversational(prompts, completions):
        return vowels(prompts, [completion[0]["content"] for completion in completions])

    runs = [make(folder), make(folder, prompts=chats, reward=conversational)]
    for run in runs:
        run.train()
    assert without_clock(runs[0].metrics) == without_clock(runs[1].metrics)


@pytest.mark.parametrize("values", [[0.0], [float("nan")] * 8, [None] * 8])
def test_unusable_reward_names_the_step_and_what_to_do(folder, values):
    steps = []

    def reward(prompts, completions):
        steps.append(len(completions))
        return [0.0] * len(completions) if len(steps) < 2 else values

    with raises("no-reward", "step 2", "reward", "on_reward_error=skip") as caught:
        make(folder, reward=reward).train()
    assert ".." not in str(caught.value)
    assert "checkpoint" not in str(caught.value)  # a temporary run folder has none to resume from


def test_save_keeps_the_reward_and_value_models_of_the_run(folder):
    trainer = make(folder)
    trainer.train()
    models = [str(folder / "policy"), str(folder / "reward")]
    trainer.setup = replace(trainer.setup, built_on=models)
    for model in models:
        with raises("file-exists", model):
            trainer.save(model)


def test_weight_of_a_reward_is_recorded(folder, tmp_path):
    source = f"{folder}/reward.py:vowels"
    trainer = make(folder, reward=[f"0.25*{source}"], output_dir=tmp_path / "run")
    assert trainer.setup.settings.reward.reward == [f"0.25*{source}"]
    assert [spec.weight for spec in trainer.setup.rewards] == [0.25]


def test_weight_of_prompts_takes_a_share(folder, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    trainer = make(folder, prompts=f"0.5*{file}", eval_prompts=f"0.25*{file}")
    assert [len(trainer.setup.prompts), len(trainer.setup.held_out)] == [4, 2]


def test_run_without_a_checkpoint_says_that_it_starts_again(folder, tmp_path, capsys):
    make(folder, output_dir=tmp_path / "run", resume_from_checkpoint=True).train()
    assert capsys.readouterr().out.count("no checkpoint yet") == 1


def test_interrupted_run_saves_the_policy(folder, tmp_path):
    trainer = make(folder)

    def interrupt(step, metrics):
        raise KeyboardInterrupt

    trainer.on_step = interrupt
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    target = trainer.save(tmp_path / "saved")
    assert "interrupted in iteration 2" in (target / "README.md").read_text()
    saved = AutoModelForCausalLM.from_pretrained(target).state_dict()
    for name, tensor in trainer.models.policy.state_dict().items():
        torch.testing.assert_close(saved[name], tensor, rtol=0, atol=0)
    with raises("run-exists", "PPOTrainer", "resume_from_checkpoint=True"):
        trainer.train()


def test_result_has_steps_metrics_and_a_short_repr(folder, capsys):
    trainer = make(folder)
    result = trainer.train()
    assert (result.steps, result.metrics) == (2, trainer.metrics)
    assert repr(result).startswith("PPOResult(iterations: 2, responses: 16, score: ")
    assert len(repr(result)) < 300
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert [line.partition(":")[0] for line in lines] == ["step 1/2", "step 2/2"]


def test_true_resumes_from_the_newest_checkpoint(folder, tmp_path):
    make(folder, output_dir=tmp_path).train()
    config = rlhf.PPOConfig(**KEYS | {"max_steps": 3})
    resumed = make(folder, config=config, output_dir=tmp_path, resume_from_checkpoint=True)
    assert resumed.train().steps == 3
    assert [line["step"] for line in resumed.metrics] == [1, 2, 3]
