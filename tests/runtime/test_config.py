"""parse_config: a dataclass, a YAML file over it, the command line over that."""

import dataclasses
from typing import ClassVar, Literal

import pytest
import yaml

from rlhf.runtime.config import as_dict, as_yaml, parse_config
from tests.errors import raises


@dataclasses.dataclass(frozen=True, kw_only=True)
class Some:
    """Some keys."""

    output_dir: str
    learning_rate: float = dataclasses.field(default=1e-3, metadata={"help": "The rate."})
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


def test_command_line_overrides_file_and_file_overrides_defaults(tmp_path):
    some, other = parse(
        "--seed", "7", "--no_packing",
        file="output_dir: runs/a\nseed: 3\nlearning_rate: 1e-5\npacking: true\nmax_steps: 4\n",
        tmp_path=tmp_path,
    )  # fmt: skip
    assert some == Some(output_dir="runs/a", seed=7, learning_rate=1e-5, packing=False)
    assert other == Other(max_steps=4)


def test_config_file_may_follow_an_equals_sign(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("output_dir: x\n")
    some, _ = parse_config(Some, Other, description=None, argv=[f"--config={path}"])
    assert some.output_dir == "x"


def test_list_on_the_command_line_replaces_that_of_the_file(tmp_path):
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
def test_value_may_begin_with_a_dash(item, tmp_path):
    assert weighted("--reward", "0.5*rm", item).reward == ["0.5*rm", item]
    assert weighted("--reward", item, "--clip", "1").reward == [item]
    assert weighted("--reward", "a", "--name", item).name == item
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"reward": ["0.5*rm", item], "name": item}))
    from_file = weighted("--config", str(tmp_path / "a.yaml"))
    assert (from_file.reward, from_file.name) == (["0.5*rm", item], item)


def test_negative_number_is_a_value_in_every_notation(tmp_path):
    config = weighted("--reward", "a", "--weights", "-1", "-1e-3", "-.5", "--clip", "-2e-4")
    assert (config.weights, config.clip) == ([-1.0, -0.001, -0.5], -0.0002)
    (tmp_path / "a.yaml").write_text("reward: [a]\nweights: [-1, -1.0e-3, -.5]\nclip: -2.0e-4\n")
    assert weighted("--config", str(tmp_path / "a.yaml")) == config


def test_list_item_in_a_file_may_begin_with_two_dashes(tmp_path):
    (tmp_path / "a.yaml").write_text("reward: [--clip, --what=1, -h]\n")
    path = str(tmp_path / "a.yaml")
    assert weighted("--config", path).reward == ["--clip", "--what=1", "-h"]
    assert weighted("--config", path, "--reward", "b").reward == ["b"]


@pytest.mark.parametrize(
    ("file", "argv", "code", "names"),
    [
        ("reward: [a]\nclip: [1, -2]\n", [], "bad-value", ["a.yaml", "clip"]),
        ("reward: []\n", [], "bad-value", ["a.yaml", "reward"]),
        ("reward: [a]\nclip: b\n", [], "bad-value", ["a.yaml", "clip", "'b'"]),
        ("reward: [a]\nclip: b\n", ["--clip", "c"], "bad-value", ["command line", "clip", "'c'"]),
        ("reward: [a]\n", ["--clip", "1", "-3*x"], "unknown-key", ["command line", "'-3*x'"]),
        ("reward: [a]\n", ["-clip", "1"], "unknown-key", ["command line", "'-clip'", "--clip"]),
    ],
)
def test_error_names_the_file_or_the_command_line(file, argv, code, names, tmp_path):
    (tmp_path / "a.yaml").write_text(file)
    with raises(code, *names):
        weighted("--config", str(tmp_path / "a.yaml"), *argv)


def test_empty_optional_key_is_its_default(tmp_path):
    assert parse(file="output_dir: x\neval_data:\n", tmp_path=tmp_path)[0].eval_data is None


@pytest.mark.parametrize(
    ("argv", "code", "names"),
    [
        (["--output_dir=x", "--learning_rat", "1"], "unknown-key", ["mean learning_rate?"]),
        (
            ["--output_dir=x", "--seed", "1", "--seed", "2"],
            "repeated-key",
            ["--seed", "2 times"],
        ),
        (["--output_dir", "x", "--output-dir", "y"], "repeated-key", ["--output_dir", "2 times"]),
        (["--output_dir", "x", "--packing", "--no_packing"], "repeated-key", ["--packing"]),
        (["--output_dir", "x", "--seed", "a"], "bad-value", ["seed", "int", "'a'"]),
        (["--output_dir", "x", "--seed"], "bad-value", ["seed"]),
        (["--output_dir", "x", "--bf16", "perhaps"], "bad-value", ["bf16", "'perhaps'"]),
        (["--output_dir", "x", "--no_bf16"], "unknown-key", ["no_bf16"]),
        (
            ["--output_dir=x", "--mode", "lara"],
            "bad-value",
            ["mode", "'lara'", "separate, lora"],
        ),
        (["--output_dir", "x", "stray"], "unknown-key", ["'stray'"]),
        (["--output_dir=x", "stray"], "unknown-key", ["'stray'"]),
        (["stray"], "unknown-key", ["'stray'"]),
        (["--out", "x"], "unknown-key", ["'out'"]),
        ([], "missing-key", ["--output_dir"]),
        (["--config"], "bad-value", ["config"]),
        (["--config", "no/such.yaml"], "missing-file", ["no/such.yaml"]),
    ],
)
def test_error_on_the_command_line_names_the_key(argv, code, names):
    with raises(code, *names):
        parse(*argv)


@pytest.mark.parametrize(
    ("file", "code", "names"),
    [
        ("output_dir: x\nlearning_rte: 1\n", "unknown-key", ["'learning_rte'", "learning_rate?"]),
        ("output_dir: x\nconfig: a.yaml\n", "unknown-key", ["'config'"]),
        ("output_dir: x\nseed: 1.5\n", "bad-value", ["seed", "int", "'1.5'"]),
        ("output_dir: x\nbf16: perhaps\n", "bad-value", ["bf16", "'perhaps'"]),
        ("output_dir: x\nmode: fast\n", "bad-value", ["mode", "'fast'", "separate, lora"]),
        ("output_dir: x\nseed:\n", "bad-value", ["seed"]),
        ("output_dir: {a: 1}\n", "bad-value", ["output_dir"]),
        ("- a\n", "bad-config-file", ["`key: value`"]),
        ("a: [\n", "bad-config-file", ["line 2"]),
        ("output_dir: x\nseed: 1\nseed: 2\n", "bad-config-file", ["seed", "2 times"]),
    ],
)
def test_error_in_the_file_names_file_and_key(file, code, names, tmp_path):
    with raises(code, "some.yaml", *names):
        parse(file=file, tmp_path=tmp_path)


def test_help_keeps_the_description_and_shows_defaults(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse_config(Some, Other, description="One.\n\n    rlhf some --x\n", argv=["--help"])
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    assert "One.\n\n    rlhf some --x\n" in printed
    assert "--learning_rate FLOAT" in printed
    assert "(default: 0.001)" in printed
    assert "{separate,lora}" in printed
    assert "Some keys:" in printed
    assert "None" not in printed


def test_printed_config_reads_back_to_the_same_values(capsys, tmp_path):
    with pytest.raises(SystemExit) as exit_:
        parse("--output_dir", "x", "--names", "a", "b", "--print_config")
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["names"] == ["a", "b"]
    again = parse(file=printed, tmp_path=tmp_path)
    assert as_yaml(*again) == printed
    assert as_dict(*again)["max_steps"] == 10


def test_empty_list_reads_back(tmp_path):
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


def test_old_name_of_a_key_works_with_a_warning(tmp_path, caplog):
    path = tmp_path / "old.yaml"
    path.write_text("length: 5\n")
    assert parse_config(Renaming, description=None, argv=["--length", "4"])[0].max_tokens == 4
    assert "length is now called max_tokens" in caplog.text
    from_file = parse_config(Renaming, description=None, argv=["--config", str(path)])
    assert from_file[0].max_tokens == 5
    with raises("repeated-key", "max_tokens"):
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
    with raises("bad-value", "max_tokens"):
        parse_config(Renaming, description=None, argv=["--config", str(path)])
