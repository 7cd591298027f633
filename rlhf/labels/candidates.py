"""K sampled responses to each prompt, as candidates for ranking."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_prompts
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.labels.records import Candidate
from rlhf.models.compatibility import check_input_model
from rlhf.models.generation.generate import sample_batches
from rlhf.models.load import load_config, load_policy, on_device
from rlhf.models.recurrent import check_not_recurrent
from rlhf.models.tokenizer import tokenizer_of_model
from rlhf.rollouts.sample_journal import SampleJournal, model_version
from rlhf.runtime.printing import counted
from rlhf.runtime.progress import progress
from rlhf.types import Prompt, PromptRow


def sample_candidates(
    models: Sequence[str],
    prompts_file: str,
    *,
    num_responses: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 128,
    bf16: bool | None = None,
    chat_template: str = "auto",
    template_kwargs: Mapping[str, object] | None = None,
    bad_rows: BadRows | None = None,
    journal_file: Path | None = None,
) -> list[Candidate]:
    """`num_responses` responses to each prompt of the file, divided among the models in turn.

    Prompts and tokenizers of every model are checked before any weights load; one model at a time
    is in memory.

    Args:
        models: folders or hub ids of policies; a model may be given twice.
        prompts_file: file or hub id of prompts; their other columns are kept.
        num_responses: responses per prompt, of all models together.
        max_new_tokens: longest response, in tokens.
        temperature: softmax temperature; 0 is greedy.
        seed: seed of the sampling.
        batch_size: responses sampled at a time.
        bf16: whether to load the models in bfloat16 instead of float32; by default on a GPU.
        chat_template: "auto", "none" or a file, as the models were trained.
        template_kwargs: variables of the chat template.
        bad_rows: what to do with unusable prompts; by default they raise.
        journal_file: responses are written there as they are sampled, and those of an interrupted
            call with the same arguments are taken from there. The caller deletes it.

    Raises:
        ConfigError: fewer responses than models, or a journal of other arguments.
        DataError: prompts that cannot be used, or that leave a model no room for a response.
        CheckpointError: a folder that is not a model, or that changed after its manifest.
    """
    sampling = _Sampling(
        models=models,
        num_responses=num_responses,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        bf16=torch.cuda.is_available() if bf16 is None else bf16,
        chat_template=chat_template,
        template_kwargs=template_kwargs,
    )
    chats = sampling.tokenizers()
    loaded = load_prompts(
        prompts_file, others=chats, response_length=max_new_tokens, bad_rows=bad_rows
    )
    rows = loaded.rows
    prompts = [row.prompt for row in rows]
    with (
        SampleJournal[str](journal_file, sampling.settings(loaded.use.sha256)) as journal,
        progress("responses", num_responses * len(rows), journal.num_samples) as advance,
    ):
        for place, chat in enumerate(chats):
            done = journal.prompts_with(place)
            if len(done) == len(rows):
                continue  # its weights are not needed
            for prompt, texts in sampling.texts(place, chat, prompts, batch_size, done):
                journal.add(prompt, place, texts)
                advance(len(texts))
    return candidates_of(journal, rows, sampling.authors)


def candidates_of(
    journal: SampleJournal[str], rows: Sequence[PromptRow], models: Sequence[str]
) -> list[Candidate]:
    """Each prompt with its responses; `models` are the models of a prompt's responses."""
    return [
        Candidate(
            prompt=row.prompt, responses=journal.of_prompt(n), models=models, columns=row.columns
        )
        for n, row in enumerate(rows)
    ]


@dataclass(frozen=True, kw_only=True)
class _Sampling:
    """Which model samples how many responses to a prompt, and how."""

    models: Sequence[str]
    num_responses: int
    max_new_tokens: int
    temperature: float
    seed: int
    bf16: bool
    chat_template: str
    template_kwargs: Mapping[str, object] | None

    def __post_init__(self) -> None:
        check_counts(len(self.models), self.num_responses)

    @property
    def counts(self) -> list[int]:
        """Responses to a prompt by each model."""
        num_models = len(self.models)
        return [len(range(place, self.num_responses, num_models)) for place in range(num_models)]

    @property
    def authors(self) -> list[str]:
        """The model of each response to a prompt."""
        counts = zip(self.models, self.counts, strict=True)
        return [model for model, count in counts for _ in range(count)]

    def tokenizers(self) -> list[ChatTokenizer]:
        """The checked tokenizer of each model."""
        return [
            sampling_tokenizer(
                model,
                self.chat_template,
                self.max_new_tokens,
                template_kwargs=self.template_kwargs,
            )
            for model in self.models
        ]

    def settings(self, prompts: str) -> dict[str, object]:
        """What the responses depend on, for the journal. prompts: hash of their file."""
        return {
            **asdict(self),
            "models": [[model, model_version(model)] for model in self.models],
            "prompts": prompts,
        }

    def texts(
        self,
        place: int,
        chat: ChatTokenizer,
        prompts: Sequence[Prompt],
        batch_size: int,
        skip: Collection[int],
    ) -> Iterator[tuple[int, list[str]]]:
        """(index of a prompt, responses to it) by the model of this place."""
        batches = sample_batches(
            load_on_device(self.models[place], bf16=self.bf16),
            chat,
            prompts,
            num_responses=self.counts[place],
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            # A model given twice samples different responses.
            seed=self.seed + 1_000_003 * place,
            batch_size=batch_size,
            skip=skip,
        )
        for batch in batches:
            for prompt, samples in batch.items():
                yield prompt, [sample.response for sample in samples]


def check_counts(num_models: int, num_responses: int) -> None:
    """Check that each model samples a response to each prompt.

    Raises:
        ConfigError: there is no model, or there are more models than responses.
    """
    if not 0 < num_models <= num_responses:
        raise ConfigError(
            f"num_responses={num_responses} cannot be divided among "
            f"{counted(num_models, 'model')}; use at least one response per model.",
            code="key-conflict",
        )


def sampling_tokenizer(
    model: str,
    chat_template: str,
    max_new_tokens: int,
    *,
    template_kwargs: Mapping[str, object] | None = None,
) -> ChatTokenizer:
    """The model's tokenizer, limited to the positions that the model was trained with.

    Raises:
        ConfigError: `max_new_tokens` leaves no room for a prompt.
        CheckpointError: a folder that is not a model, or that changed after its manifest.
    """
    check_input_model(model)
    chat = tokenizer_of_model(model, chat_template, template_kwargs=template_kwargs)
    check_not_recurrent(model)
    positions = getattr(load_config(model), "max_position_embeddings", None)
    if positions is not None and positions <= max_new_tokens:
        raise ConfigError(
            f"max_new_tokens={max_new_tokens} fills all {positions} positions of {model}; "
            "leave room for the prompt.",
            code="too-long",
        )
    return replace(chat, max_positions=positions)


def load_on_device(model: str, *, bf16: bool | None = None) -> PreTrainedModel:
    """The policy on the GPU if there is one, else on the CPU.

    bf16: whether its weights are in bfloat16 instead of float32; by default on a GPU.
    """
    on_gpu = torch.cuda.is_available()
    in_bf16 = on_gpu if bf16 is None else bf16
    policy = load_policy(model, dtype=torch.bfloat16 if in_bf16 else torch.float32)
    return on_device(policy, torch.device("cuda" if on_gpu else "cpu"))
