"""parse_config: a dataclass, a YAML file over it, the command line over that."""

import dataclasses
from typing import ClassVar, Literal

import pytest
import yaml

from rlhf.errors import ConfigError
from rlhf.runtime.config import as_dict, as_yaml, parse_config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Some:
    output_dir: str
    learning_rate: float = 1e-3
    seed: int = 0
    packing: bool = True
    bf16: bool = False
    names: list[str] = dataclasses.field(default_factory=list)
    mode: Literal["separate", "lora"] = "separate"
    eval_data: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Other:
    max_steps: int = 10


def parse(*argv, file=None, tmp_path=None):
    words = list(argv)
    if file is not None:
        path = tmp_path / "some.yaml"
        path.write_text(file, encoding="utf-8")
        words += ["--config", str(path)]
    return parse_config(Some, Other, description="Some.", argv=words)


def test_the_command_line_goes_over_the_file_and_the_file_over_the_defaults(tmp_path):
    some, other = parse(
        "--seed", "7", "--no_packing",
        file="output_dir: runs/a\nseed: 3\nlearning_rate: 1e-5\npacking: true\nmax_steps: 4\n",
        tmp_path=tmp_path,
    )  # fmt: skip
    assert some == Some(output_dir="runs/a", seed=7, learning_rate=1e-5, packing=False)
    assert other == Other(max_steps=4)


def test_config_may_be_written_with_an_equals_sign(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("output_dir: x\n")
    some, _ = parse_config(Some, Other, description=None, argv=[f"--config={path}"])
    assert some.output_dir == "x"


def test_lists_are_separated_by_spaces_and_replace_the_file(tmp_path):
    file = "output_dir: x\nnames: [a, b]\n"
    assert parse(file=file, tmp_path=tmp_path)[0].names == ["a", "b"]
    assert parse("--names", "c", "d", file=file, tmp_path=tmp_path)[0].names == ["c", "d"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weighted:
    reward: list[str]
    weights: list[float] = dataclasses.field(default_factory=list)
    clip: float = 0.0
    name: str = ""


def weighted(*argv):
    return parse_config(Weighted, description=None, argv=argv)[0]


@pytest.mark.parametrize("item", ["-1*rew.py:vowels", "-0.5*my runs/rm", "-1e-3*x", "-", "-x=1"])
def test_a_value_may_begin_with_a_dash(item, tmp_path):
    assert weighted("--reward", "0.5*rm", item).reward == ["0.5*rm", item]
    assert weighted("--reward", item, "--clip", "1").reward == [item]
    assert weighted("--reward", "a", "--name", item).name == item
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"reward": ["0.5*rm", item], "name": item}))
    read = weighted("--config", str(tmp_path / "a.yaml"))
    assert (read.reward, read.name) == (["0.5*rm", item], item)


def test_negative_numbers_are_values_however_they_are_written(tmp_path):
    given = weighted("--reward", "a", "--weights", "-1", "-1e-3", "-.5", "--clip", "-2e-4")
    assert (given.weights, given.clip) == ([-1.0, -0.001, -0.5], -0.0002)
    (tmp_path / "a.yaml").write_text("reward: [a]\nweights: [-1, -1.0e-3, -.5]\nclip: -2.0e-4\n")
    assert weighted("--config", str(tmp_path / "a.yaml")) == given


def test_an_item_of_a_list_in_a_file_is_a_value_even_with_two_dashes(tmp_path):
    (tmp_path / "a.yaml").write_text("reward: [--clip, --what=1, -h]\n")
    path = str(tmp_path / "a.yaml")
    assert weighted("--config", path).reward == ["--clip", "--what=1", "-h"]
    assert weighted("--config", path, "--reward", "b").reward == ["b"]


@pytest.mark.parametrize(
    ("file", "argv", "said"),
    [
        ("reward: [a]\nclip: [1, -2]\n", [], "a.yaml: '-2' belongs to no key"),
        ("reward: [a]\nclip: b\n", [], "a.yaml: argument --clip: invalid float value: 'b'"),
        ("reward: [a]\nclip: b\n", ["--clip", "c"], "the command line: argument --clip"),
        ("reward: [a]\n", ["--clip", "1", "-3*x"], "the command line: '-3*x' belongs to no key"),
        ("reward: [a]\n", ["-clip", "1"], "the command line: '-clip' has one dash; write --clip."),
    ],
)
def test_a_mistake_names_its_place_and_keeps_its_sign(file, argv, said, tmp_path):
    (tmp_path / "a.yaml").write_text(file)
    with pytest.raises(ConfigError) as caught:
        weighted("--config", str(tmp_path / "a.yaml"), *argv)
    assert said in str(caught.value)


def test_an_empty_optional_key_is_its_default(tmp_path):
    assert parse(file="output_dir: x\neval_data:\n", tmp_path=tmp_path)[0].eval_data is None


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--output_dir", "x", "--learning_rat", "1"], "did you mean learning_rate?"),
        (["--output_dir", "x", "--seed", "1", "--seed", "2"], "--seed is given 2 times"),
        (["--output_dir", "x", "--output-dir", "y"], "--output_dir is given 2 times"),
        (["--output_dir", "x", "--packing", "--no_packing"], "--packing is given 2 times"),
        (["--output_dir", "x", "--seed", "a"], "invalid int value: 'a'"),
        (["--output_dir", "x", "--mode", "lara"], "invalid choice: 'lara'"),
        (["--output_dir", "x", "stray"], "'stray' belongs to no key"),
        (["--out", "x"], "output_dir"),
        ([], "--output_dir"),
        (["--config"], "--config needs a file"),
        (["--config", "no/such.yaml"], "no/such.yaml cannot be read"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(argv, said):
    with pytest.raises(ConfigError) as caught:
        parse(*argv)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            "output_dir: x\nlearning_rte: 1\n",
            "unknown key 'learning_rte'; did you mean learning_rate?",
        ),
        ("output_dir: x\nseed: 1.5\n", "invalid int value: '1.5'"),
        ("output_dir: x\nbf16: perhaps\n", "bf16"),
        ("output_dir: x\nmode: fast\n", "invalid choice: 'fast'"),
        ("output_dir: x\nseed:\n", "seed is empty"),
        ("output_dir: {a: 1}\n", "output_dir holds a mapping"),
        ("- a\n", "write `key: value` lines"),
        ("a: [\n", "cannot be read as YAML"),
        ("output_dir: x\nseed: 1\nseed: 2\n", "seed is given 2 times"),
    ],
)
def test_a_mistake_in_the_file_is_named(file, said, tmp_path):
    with pytest.raises(ConfigError) as caught:
        parse(file=file, tmp_path=tmp_path)
    assert said in str(caught.value)


def test_print_config_reads_back_to_the_same_values(capsys, tmp_path):
    with pytest.raises(SystemExit) as left:
        parse("--output_dir", "x", "--names", "a", "b", "--print_config")
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["names"] == ["a", "b"]
    again = parse(file=printed, tmp_path=tmp_path)
    assert as_yaml(*again) == printed
    assert as_dict(*again)["max_steps"] == 10


def test_empty_lists_read_back_too(tmp_path):
    """`names: []` is what the default is written as; it also empties a list that has a default."""
    some = Some(output_dir="x")
    assert parse(file=as_yaml(some), tmp_path=tmp_path)[0] == some
    assert parse("--names", "--seed", "1", file="output_dir: x\nnames: [a]\n", tmp_path=tmp_path)[
        0
    ] == Some(output_dir="x", seed=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Renaming:
    """A key that had another name, and one whose value is JSON."""

    RENAMED: ClassVar[dict[str, str]] = {"length": "max_tokens"}
    JSON_KEYS: ClassVar[tuple[str, ...]] = ("variables",)

    max_tokens: int = 1
    variables: str | None = None


def test_old_name_of_a_key_still_works_and_is_named(tmp_path, caplog):
    path = tmp_path / "old.yaml"
    path.write_text("length: 5\n")
    assert parse_config(Renaming, description=None, argv=["--length", "4"])[0].max_tokens == 4
    assert "length is now called max_tokens" in caplog.text
    from_file = parse_config(Renaming, description=None, argv=["--config", str(path)])
    assert from_file[0].max_tokens == 5
    with pytest.raises(ConfigError, match="given 2 times"):
        parse_config(Renaming, description=None, argv=["--length", "4", "--max_tokens", "4"])


def test_mapping_of_a_json_key_is_its_json_text(tmp_path):
    path = tmp_path / "kwargs.yaml"
    path.write_text("variables: {enable_thinking: false}\n")
    (config,) = parse_config(Renaming, description=None, argv=["--config", str(path)])
    assert config.variables == '{"enable_thinking": false}'
    path.write_text(as_yaml(config))
    assert parse_config(Renaming, description=None, argv=["--config", str(path)]) == (config,)
    path.write_text("variables: [{a: 1}, null]\n")  # one for each of several
    (config,) = parse_config(Renaming, description=None, argv=["--config", str(path)])
    assert config.variables == '[{"a": 1}, null]'
    path.write_text("max_tokens: {a: 1}\n")
    with pytest.raises(ConfigError, match="holds a mapping"):
        parse_config(Renaming, description=None, argv=["--config", str(path)])
